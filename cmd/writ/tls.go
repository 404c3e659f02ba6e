package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"sync/atomic"
)

// certificates holds a certificate that can be replaced while serving.
type certificates struct {
	cert, key string
	current   atomic.Pointer[tls.Certificate]
}

// loadCertificates reads the files; nil without files.
func loadCertificates(cert, key string) (*certificates, error) {
	if cert == "" && key == "" {
		return nil, nil
	}
	if cert == "" || key == "" {
		return nil, errors.New("--tls-cert and --tls-key go together")
	}
	c := &certificates{cert: cert, key: key}
	return c, c.reload()
}

// reload reads the files again and keeps the old certificate when they are wrong.
// Without certificates there is nothing to do.
func (c *certificates) reload() error {
	if c == nil {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("read certificate: %w", err)
	}
	c.current.Store(&pair)
	return nil
}

// config allows TLS 1.3, and 1.2 with the four suites of BCP 195; Go's default
// would offer CBC and ChaCha20 in 1.2 as well.
func (c *certificates) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current.Load(), nil },
	}
}
