package gateway

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"

	"github.com/writ-auth/writ/grpcguard"
	"github.com/writ-auth/writ/guard"
)

// The rows that no gRPC call can be.
var noCalls = map[string]string{
	"token in the query":                              "a call's path is the name of a method, and nothing else",
	"token in the query besides":                      "likewise",
	"proof in the query":                              "likewise",
	"bound, proof for the same URL written otherwise": "likewise",
	"token in the body":                               "a call's body is never a form",
	"token as a WebSocket protocol":                   "HTTP/2 has no such upgrade",
	"header name with a space":                        "HTTP/2 writes names and values apart, and refuses this name",
	"line break":                                      "nor does it know lines, and refuses this value",
	"carriage return":                                 "likewise",
	"folded line":                                     "likewise",
	"zero in the token":                               "HTTP/2 refuses this value",
	"zero behind the token":                           "likewise",
	"delete behind the token":                         "likewise",
}

// A callee is a gRPC server that judges by itself. Its one method is called as the
// table's requests are, /orders/7, so that a proof for one is a proof for the other.
type callee struct {
	door
	client *http.Client
	body   []byte // of a call: no message, or an empty one
}

func (c *court) callee(t *testing.T, kind string) *callee {
	t.Helper()
	g := c.sdk(t, c.now)
	front, err := grpcguard.New(g, grpcguard.Config{Needs: map[string]guard.Need{"/orders/7": {Scopes: []string{"orders:read"}}}})
	if err != nil {
		t.Fatal(err)
	}
	d := &callee{client: plaintext(t)}
	d.name, d.refused = "gRPC "+kind, func() map[string]uint64 { return g.State().Refusals }
	serve := func(ctx context.Context) {
		d.reached.Add(1)
		_ = grpc.SetHeader(ctx, metadata.Pairs("caller", guard.From(ctx).Subject)) // fails outside a server only
	}
	service := &grpc.ServiceDesc{ServiceName: "orders"}
	if kind == "stream" {
		service.Streams = []grpc.StreamDesc{{StreamName: "7", ClientStreams: true, ServerStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
			serve(s.Context())
			return nil
		}}}
	} else {
		d.body = make([]byte, 5) // not compressed, and of length 0
		service.Methods = []grpc.MethodDesc{{MethodName: "7", Handler: func(srv any, ctx context.Context, in func(any) error, by grpc.UnaryServerInterceptor) (any, error) {
			message := new(grpc_testing.Empty)
			if err := in(message); err != nil {
				return nil, err
			}
			return by(ctx, message, &grpc.UnaryServerInfo{FullMethod: "/orders/7"}, func(ctx context.Context, _ any) (any, error) {
				serve(ctx)
				return message, nil
			})
		}}}
	}
	server := grpc.NewServer(front.Options()...)
	server.RegisterService(service, nil)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(listener) // returns when it is stopped
	t.Cleanup(server.Stop)
	d.address = listener.Addr().String()
	return d
}

// plaintext speaks HTTP/2 without TLS. Unlike gRPC's own client it sends whatever HTTP/2
// allows in a header.
func plaintext(t *testing.T) *http.Client {
	transport := &http.Transport{DisableCompression: true, Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// call makes the letter one that is the same request over HTTP/1.1 and as a call, which
// is always a POST.
func (l letter) call() letter {
	if l.method() == http.MethodGet {
		switch l.Proof.Method {
		case http.MethodPost:
			l.Proof.Method = http.MethodGet
		case "get":
			l.Proof.Method = "post"
		}
	}
	l.Method = http.MethodPost
	return l
}

// statuses are those of HTTP that stand for the codes of a verdict.
var statuses = map[codes.Code]int{
	codes.OK: http.StatusOK, codes.InvalidArgument: http.StatusBadRequest, codes.Unauthenticated: http.StatusUnauthorized,
	codes.PermissionDenied: http.StatusForbidden, codes.Unavailable: http.StatusServiceUnavailable,
}

// ask makes a call of a request as court.write writes it, and an answer of what comes
// back: the body is that of the same verdict over HTTP.
func (d *callee) ask(t *testing.T, request string) answer {
	t.Helper()
	head, _, _ := strings.Cut(request, "\r\n\r\n")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+d.address+"/orders/7", bytes.NewReader(d.body))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(head, "\r\n")[1:] {
		name, value, _ := strings.Cut(line, ":")
		switch value = strings.Trim(value, " \t"); http.CanonicalHeaderKey(name) {
		case "Host":
			r.Host = value
		case "Connection", "Content-Length", "Content-Type": // of HTTP/1.1 or of the call
		default:
			r.Header.Add(name, value)
		}
	}
	r.Header.Set("Content-Type", "application/grpc")
	reached, refused := d.reached.Load(), d.refused()
	res, err := d.client.Do(r)
	if err != nil {
		t.Fatalf("%s: no answer: %v", d.name, err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Fatalf("%s: answer cut: %v", d.name, err)
	}
	told := res.Trailer // after a header; without one both are the header
	if res.Header.Get("Grpc-Status") != "" {
		told = res.Header
	}
	number, err := strconv.Atoi(told.Get("Grpc-Status"))
	if err != nil {
		t.Fatalf("%s: %s, header %v, trailer %v: no status of gRPC", d.name, res.Status, res.Header, res.Trailer)
	}
	a := answer{challenges: told["Www-Authenticate"], body: res.Header.Get("Caller"), reached: d.reached.Load() - reached}
	a.verdict = fmt.Sprintf("%d %s %s", statuses[codes.Code(number)], orNone(a.code()), d.why(refused))
	if number != int(codes.OK) {
		a.body = told.Get("Grpc-Message")
	}
	if id := told.Get("Writ-Receipt"); id != "" {
		a.body = strings.Replace(a.body, "receipt "+id, "receipt ID", 1)
	}
	return a
}

// faultsOfCall compares what a call got with the verdict of the table and with what the SDK
// said to the same request over HTTP/1.1.
func (a answer) faultsOfCall(want string, sdk answer) []string {
	var list []string
	add := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	for len(strings.Fields(want)) < 3 {
		want += " -"
	}
	reached, body := int64(1), "alice"
	if !strings.HasPrefix(want, "200 ") {
		reached, body = 0, "receipt ID"
		if code := sdk.code(); code != "" {
			body = code + ", receipt ID"
		}
	}
	if a.verdict != want || a.verdict != sdk.verdict {
		add("verdict %q, want %q, and as the SDK's %q", a.verdict, want, sdk.verdict)
	}
	if a.reached != reached || a.body != body {
		add("%d calls came through, answer %q, want %d and %q", a.reached, a.body, reached, body)
	}
	if !slices.Equal(a.challenges, sdk.challenges) {
		add("challenges %q, want the SDK's %q", a.challenges, sdk.challenges)
	}
	return list
}

// TestVerdictsOverGRPC puts the table to gRPC servers, before their caches hold anything
// of the good twin and after, as TestVerdicts does to the others.
func TestVerdictsOverGRPC(t *testing.T) {
	c := newCourt(t)
	sdk, callees := c.doors[0], []*callee{c.callee(t, "unary"), c.callee(t, "stream")}
	judge := func(t *testing.T, l letter) {
		t.Helper()
		l = l.call()
		request := c.write(t, l)
		if l.Again {
			sdk.ask(t, request)
		}
		said := sdk.ask(t, request)
		for _, d := range callees {
			if l.Again {
				for _, fault := range d.ask(t, request).faultsOfCall("200", answer{verdict: "200 - -"}) {
					t.Errorf("%s, the first time: %s", d.name, fault)
				}
			}
			for _, fault := range d.ask(t, request).faultsOfCall(l.Want, said) {
				t.Errorf("%s: %s", d.name, fault)
			}
		}
	}
	var all []pair
	left := 0
	for _, p := range c.pairs(t, readVerdicts(t)) {
		if noCalls[p.bad.Name] != "" {
			left++
			continue
		}
		all = append(all, p)
	}
	if left != len(noCalls) {
		t.Errorf("%d rows are left out, want the %d that are named", left, len(noCalls))
	}
	for _, p := range all {
		t.Run("cold/"+p.bad.Name, func(t *testing.T) { judge(t, p.bad) })
	}
	for _, p := range all {
		t.Run("warm/"+p.bad.Name, func(t *testing.T) {
			judge(t, p.twin)
			judge(t, p.bad)
			judge(t, p.twin)
		})
	}
	if n := c.asked.Load(); n != 0 {
		t.Errorf("tokens made somebody ask the attacker's server %d times, want none", n)
	}
}
