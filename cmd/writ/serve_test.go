package main

import "testing"

// TestIssuerFits: tokens never cross a network in the clear (RFC 6749 §1.6), and an
// issuer is scheme and host alone. Each attack stands beside its good twin.
func TestIssuerFits(t *testing.T) {
	const loopback, everywhere = "127.0.0.1:8400", "0.0.0.0:8400"
	for _, tt := range []struct {
		name, issuer, listen string
		tls, want            bool
	}{
		{"https behind a proxy", "https://id.example.com", everywhere, false, true},
		{"https with a certificate", "https://id.example.com", everywhere, true, true},
		{"https with a port", "https://id.example.com:8443", everywhere, true, true},
		{"http elsewhere", "http://id.example.com", loopback, false, false},
		{"http in the private network", "http://10.0.0.1", "10.0.0.1:80", false, false},
		{"http on a look-alike of loopback", "http://127.0.0.1.example.com", loopback, false, false},
		{"http on a look-alike of localhost", "http://localhost.example.com", loopback, false, false},
		{"http with loopback as user", "http://127.0.0.1@id.example.com", loopback, false, false},
		{"http on every address of the machine", "http://0.0.0.0:8400", everywhere, false, false},
		{"http on loopback", "http://127.0.0.1:8400", loopback, false, true},
		{"http on localhost", "http://localhost:8400", loopback, false, true},
		{"http on IPv6 loopback", "http://[::1]:8400", "[::1]:8400", false, true},
		{"http on loopback, heard everywhere", "http://127.0.0.1:8400", everywhere, false, false},
		{"http on loopback, heard on no address", "http://127.0.0.1:8400", ":8400", false, false},
		{"http on loopback, with a certificate", "http://127.0.0.1:8400", loopback, true, false},
		{"another scheme", "ftp://id.example.com", loopback, false, false},
		{"no scheme", "id.example.com", loopback, false, false},
		{"a path", "https://id.example.com/tenant", loopback, false, false},
		{"a query", "https://id.example.com?x", loopback, false, false},
		{"a fragment", "https://id.example.com#x", loopback, false, false},
		{"a user", "https://root@id.example.com", loopback, false, false},
		{"nothing", "", loopback, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := issuerFits(tt.issuer, tt.listen, tt.tls); (err == nil) != tt.want {
				t.Errorf("issuerFits(%q, %q, %v) = %v, want it to fit: %v", tt.issuer, tt.listen, tt.tls, err, tt.want)
			}
		})
	}
}
