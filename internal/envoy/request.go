package envoy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
)

// errClient says that the client's request is none, and not Envoy's question.
var errClient = errors.New("the request's path is none")

// request is the one that Envoy asks about, as its client sent it.
func request(ctx context.Context, asked *authv3.CheckRequest) (*http.Request, error) {
	about := asked.GetAttributes().GetRequest().GetHttp()
	if about == nil {
		return nil, errors.New("there is no HTTP request in it")
	}
	headers, pseudo, err := lines(about.GetHeaderMap())
	if err != nil {
		return nil, err
	}
	// Both were made of one request. If they differ, something between changed one.
	for name, value := range map[string]string{":method": about.GetMethod(), ":path": about.GetPath(), ":authority": about.GetHost()} {
		if value == "" || pseudo[name] != value {
			return nil, fmt.Errorf("%s is missing, or said in two ways", name)
		}
	}
	source := asked.GetAttributes().GetSource().GetAddress().GetSocketAddress().GetAddress()
	if net.ParseIP(source) == nil {
		return nil, errors.New("it does not say who the client is")
	}
	if !strings.HasPrefix(about.GetPath(), "/") {
		return nil, errClient
	}
	u, err := url.ParseRequestURI(about.GetPath())
	if err != nil {
		return nil, errClient
	}
	r := (&http.Request{
		Method: about.GetMethod(), URL: u, RequestURI: about.GetPath(), Host: about.GetHost(),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: headers, Body: http.NoBody, RemoteAddr: net.JoinHostPort(source, "0"),
	}).WithContext(ctx)
	switch about.GetScheme() {
	case "https":
		r.TLS = &tls.ConnectionState{} // without a certificate: Envoy's word is none
	case "http":
	default:
		return nil, errors.New("its scheme is neither http nor https")
	}
	return r, nil
}

// lines are the headers one by one, each once for each time it was sent. The
// other form in which Envoy sends them joins what was sent twice, so that two
// credentials look like one.
func lines(from *corev3.HeaderMap) (headers http.Header, pseudo map[string]string, err error) {
	if len(from.GetHeaders()) == 0 {
		return nil, nil, errors.New("the headers are not there one by one: encode_raw_headers is not set")
	}
	headers, pseudo = make(http.Header), make(map[string]string)
	for _, h := range from.GetHeaders() {
		name, value := h.GetKey(), h.GetValue()
		if raw := h.GetRawValue(); len(raw) > 0 {
			value = string(raw)
		}
		if !strings.HasPrefix(name, ":") {
			name = textproto.CanonicalMIMEHeaderKey(name)
			headers[name] = append(headers[name], value)
			continue
		}
		if _, twice := pseudo[name]; twice {
			return nil, nil, fmt.Errorf("%s is there twice", name)
		}
		pseudo[name] = value
	}
	return headers, pseudo, nil
}
