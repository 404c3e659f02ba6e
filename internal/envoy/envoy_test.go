package envoy

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/writ-auth/writ/guardtest"
	"github.com/writ-auth/writ/internal/gateway"
	"github.com/writ-auth/writ/token"
)

// door is a server as Envoys reach it, and the issuer whose tokens it takes.
type door struct {
	authv3.AuthorizationClient
	issuer *guardtest.Issuer
}

func newDoor(t *testing.T, peers []netip.Prefix) *door {
	t.Helper()
	issuer := guardtest.NewIssuer(t)
	gate, err := gateway.New(t.Context(), gateway.Config{
		Issuer: issuer.URL(), URL: "https://api.example", ClientID: "gateway", ClientSecret: "s", Logger: slog.New(slog.DiscardHandler),
		Routes: []gateway.Route{
			{Path: "/orders", Rules: []gateway.Rule{{Scopes: []string{"orders:read"}}}, Upstream: "http://127.0.0.1:1", UpstreamAudience: "https://orders.internal"},
			{Path: "/public", Open: true, Upstream: "http://127.0.0.1:1"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	soon, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	if err := gate.Ready(soon); err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	New(gate, peers, slog.New(slog.DiscardHandler)).Register(server)
	on, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(on) }() // until Stop
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient(on.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &door{authv3.NewAuthorizationClient(conn), issuer}
}

// question is Envoy's about a GET, with headers by pairs.
func question(path string, headers ...string) *authv3.CheckRequest {
	list := []*corev3.HeaderValue{{Key: ":method", RawValue: []byte("GET")}, {Key: ":path", RawValue: []byte(path)}, {Key: ":authority", RawValue: []byte("api.example")}, {Key: ":scheme", RawValue: []byte("https")}}
	for pair := range slices.Chunk(headers, 2) {
		list = append(list, &corev3.HeaderValue{Key: pair[0], RawValue: []byte(pair[1])})
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{Address: "192.0.2.7"}}}},
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Method: "GET", Path: path, Host: "api.example", Scheme: "https", HeaderMap: &corev3.HeaderMap{Headers: list},
		}},
	}}
}

func (d *door) bearer() string {
	return "Bearer " + d.issuer.Token(token.Claims{Subject: "alice", Audience: []string{"https://api.example/orders"}, Scope: []string{"orders:read"}})
}

func TestAllowed(t *testing.T) {
	d := newDoor(t, nil)
	outer := d.bearer()
	res, err := d.Check(t.Context(), question("/orders/7?access_token=x&a=1", "authorization", outer, "cookie", "writ_8400=s; a=1",
		"x-user", "admin", "x_groups", "a", "x-forwarded-for", "10.0.0.1", "x-request-id", "1"))
	if err != nil {
		t.Fatal(err)
	}
	ok := res.GetOkResponse()
	if codes.Code(res.GetStatus().GetCode()) != codes.OK || ok == nil {
		t.Fatalf("answer = %v, want it allowed", res)
	}
	if want := []string{"x-user", "x_groups"}; !slices.Equal(ok.HeadersToRemove, want) {
		t.Errorf("removed = %q, want %q", ok.HeadersToRemove, want)
	}
	got := make(map[string]string)
	for _, h := range ok.Headers {
		if h.AppendAction != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
			t.Errorf("%s is added to what the client said, want it in its place", h.GetHeader().GetKey())
		}
		got[h.GetHeader().GetKey()] = h.GetHeader().GetValue()
	}
	inner, err := token.InsecureParse(strings.TrimPrefix(got["authorization"], "Bearer "))
	if err != nil || inner.Subject != "alice" || inner.Audience[0] != "https://orders.internal" || got["authorization"] == outer {
		t.Errorf("Authorization for %v, %v, want the inner token", inner, err)
	}
	for name, want := range map[string]string{"cookie": "a=1", ":path": "/orders/7?a=1", "x-forwarded-for": "192.0.2.7", "x-forwarded-proto": "https", "x-forwarded-host": "api.example"} {
		if got[name] != want {
			t.Errorf("%s = %q, want %q", name, got[name], want)
		}
	}
	if len(got) != 6 {
		t.Errorf("%d headers are set, want 6: %q", len(got), ok.Headers)
	}
}

// A question that does not say everything is no reason to let a request through,
// although its route is open to all.
func TestUnclearQuestions(t *testing.T) {
	d := newDoor(t, nil)
	type http = authv3.AttributeContext_HttpRequest
	for name, c := range map[string]struct {
		change func(q *authv3.CheckRequest, h *http)
		want   int
	}{
		"good twin":                   {func(*authv3.CheckRequest, *http) {}, 200},
		"nothing":                     {func(q *authv3.CheckRequest, _ *http) { q.Attributes = nil }, 503},
		"no request":                  {func(q *authv3.CheckRequest, _ *http) { q.Attributes.Request = nil }, 503},
		"no HTTP":                     {func(q *authv3.CheckRequest, _ *http) { q.Attributes.Request.Http = nil }, 503},
		"no client":                   {func(q *authv3.CheckRequest, _ *http) { q.Attributes.Source = nil }, 503},
		"a client without an address": {func(q *authv3.CheckRequest, _ *http) { q.Attributes.Source.Address = nil }, 503},
		"no method":                   {func(_ *authv3.CheckRequest, h *http) { h.Method = "" }, 503},
		"no path":                     {func(_ *authv3.CheckRequest, h *http) { h.Path = "" }, 503},
		"no host":                     {func(_ *authv3.CheckRequest, h *http) { h.Host = "" }, 503},
		"no scheme":                   {func(_ *authv3.CheckRequest, h *http) { h.Scheme = "" }, 503},
		"another scheme":              {func(_ *authv3.CheckRequest, h *http) { h.Scheme = "ftp" }, 503},
		"another method":              {func(_ *authv3.CheckRequest, h *http) { h.Method = "POST" }, 503},
		"another path":                {func(_ *authv3.CheckRequest, h *http) { h.Path = "/public/x" }, 503},
		"another host":                {func(_ *authv3.CheckRequest, h *http) { h.Host = "evil.example" }, 503},
		"headers joined": {func(_ *authv3.CheckRequest, h *http) {
			h.Headers, h.HeaderMap = map[string]string{":method": "GET", ":path": "/public", ":authority": "api.example"}, nil
		}, 503},
		"a path twice": {func(_ *authv3.CheckRequest, h *http) {
			h.HeaderMap.Headers = append(h.HeaderMap.Headers, &corev3.HeaderValue{Key: ":path", Value: "/public"})
		}, 503},
		"a whole URL":        {func(_ *authv3.CheckRequest, h *http) { at(h, "http://api.example/public") }, 400},
		"a bad escape":       {func(_ *authv3.CheckRequest, h *http) { at(h, "/public%zz") }, 400},
		"a star":             {func(_ *authv3.CheckRequest, h *http) { at(h, "*") }, 400},
		"a path around":      {func(_ *authv3.CheckRequest, h *http) { at(h, "/public/../orders") }, 404},
		"a fragment":         {func(_ *authv3.CheckRequest, h *http) { at(h, "/public#x") }, 404},
		"the gateway's path": {func(_ *authv3.CheckRequest, h *http) { at(h, "/readyz") }, 404},
	} {
		q := proto.Clone(question("/public")).(*authv3.CheckRequest)
		c.change(q, q.GetAttributes().GetRequest().GetHttp())
		res, err := d.Check(t.Context(), q)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := int(res.GetDeniedResponse().GetStatus().GetCode())
		if res.GetOkResponse() != nil && codes.Code(res.GetStatus().GetCode()) == codes.OK {
			got = 200
		}
		if got != c.want || (c.want == 200) != (res.GetStatus().GetCode() == 0) {
			t.Errorf("%s: %d, status %v, want %d", name, got, res.GetStatus(), c.want)
		}
	}
}

// at moves the request elsewhere.
func at(h *authv3.AttributeContext_HttpRequest, path string) {
	h.Path = path
	h.HeaderMap.Headers[1].RawValue = []byte(path)
}

// A refusal is the gateway's: status, both challenges in one line, problem body.
func TestRefused(t *testing.T) {
	d := newDoor(t, nil)
	good := d.bearer()
	for name, c := range map[string]struct {
		q    *authv3.CheckRequest
		want int
		body string
	}{
		"no token":      {question("/orders"), 401, `"status":401`},
		"garbage":       {question("/orders", "authorization", "Bearer x.y.z"), 401, `"error":"invalid_token"`},
		"two tokens":    {question("/orders", "authorization", good, "authorization", good), 400, `"error":"invalid_request"`},
		"another route": {question("/nowhere", "authorization", good), 404, `"status":404`},
	} {
		res, err := d.Check(t.Context(), c.q)
		if err != nil {
			t.Fatal(err)
		}
		no := res.GetDeniedResponse()
		if int(no.GetStatus().GetCode()) != c.want || !strings.Contains(no.GetBody(), c.body) || res.GetStatus().GetCode() == 0 {
			t.Errorf("%s: %v, want %d with %s", name, res, c.want, c.body)
		}
		challenge := ""
		for _, h := range no.GetHeaders() {
			if h.GetHeader().GetKey() == "www-authenticate" {
				challenge += h.GetHeader().GetValue()
			}
		}
		if (c.want != 404) != (strings.Contains(challenge, "Bearer ") && strings.Contains(challenge, ", DPoP ")) {
			t.Errorf("%s: challenges %q", name, challenge)
		}
	}
}

func TestPeers(t *testing.T) {
	d := newDoor(t, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")})
	res, err := d.Check(t.Context(), question("/public"))
	if status.Code(err) != codes.PermissionDenied || res != nil {
		t.Errorf("a peer from elsewhere: %v, %v, want PermissionDenied", res, err)
	}
}

// A fault of ours refuses one request and does not take all others with it.
func TestBrokenOff(t *testing.T) {
	here := peer.NewContext(t.Context(), &peer.Peer{Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}})
	res, err := New(nil, nil, slog.New(slog.DiscardHandler)).Check(here, question("/public"))
	if status.Code(err) != codes.Internal || res != nil {
		t.Errorf("without a gateway: %v, %v, want an error and no answer", res, err)
	}
}
