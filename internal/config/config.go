// Package config reads the one configuration file, for every face that `writ`
// runs. It owns the names of keys, how values are written, and the words that
// say where a file is wrong. It does not own what a value means: the packages
// that are configured check that again.
//
// Invariant: a key that is not documented in doc/config.md is an error, and so
// is one that is there twice.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// File is a whole configuration file. A face that is not in it is nil.
type File struct {
	Log     Log      `yaml:"log"`
	Serve   *Serve   `yaml:"serve"`
	Gateway *Gateway `yaml:"gateway"`

	name  string
	lines map[string]int // line of each key that is there, by path
}

// Log says what is logged and how.
type Log struct {
	Level  string `yaml:"level"`  // debug, info, warn or error
	Format string `yaml:"format"` // text or json
}

// TLS is a certificate and its key, in PEM files.
type TLS struct {
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// Metrics is where figures are served to a monitoring system; Listen "": nowhere.
type Metrics struct {
	Listen string `yaml:"listen"`
}

// Serve is the authorization server.
type Serve struct {
	Issuer         string         `yaml:"issuer"`
	Listen         string         `yaml:"listen"`
	Database       string         `yaml:"database"`
	SealKeyFile    string         `yaml:"seal_key_file"`
	TLS            TLS            `yaml:"tls"`
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies"`
	PublicFeed     bool           `yaml:"public_feed"`
	TokenLife      time.Duration  `yaml:"token_life"`
	RefreshIdle    time.Duration  `yaml:"refresh_idle"`
	GrantLife      time.Duration  `yaml:"grant_life"`
	Sessions       Sessions       `yaml:"sessions"`
	Keys           Keys           `yaml:"keys"`
	Metrics        Metrics        `yaml:"metrics"`
}

// Sessions says when people have to sign in again.
type Sessions struct {
	Idle time.Duration `yaml:"idle"`
	Life time.Duration `yaml:"life"`
}

// Keys says which signing keys there are and how they rotate.
type Keys struct {
	Algorithms []string      `yaml:"algorithms"`
	Life       time.Duration `yaml:"life"`
	Publish    time.Duration `yaml:"publish"`
	PKCS11     *PKCS11       `yaml:"pkcs11"`
}

// PKCS11 is a token, such as a hardware security module, in which signing keys are
// made. The PIN is in a file of its own: a configuration is copied about.
type PKCS11 struct {
	Module  string `yaml:"module"`
	Token   string `yaml:"token"`
	PINFile string `yaml:"pin_file"`
	Leave   bool   `yaml:"leave"`
}

// Gateway is the gateway.
type Gateway struct {
	Issuer           string         `yaml:"issuer"`
	Listen           string         `yaml:"listen"`
	URL              string         `yaml:"url"`
	ClientID         string         `yaml:"client_id"`
	ClientSecretFile string         `yaml:"client_secret_file"`
	TrustDomain      string         `yaml:"trust_domain"`
	TLS              TLS            `yaml:"tls"`
	TrustedProxies   []netip.Prefix `yaml:"trusted_proxies"`
	StateDir         string         `yaml:"state_dir"`
	MaxStaleness     time.Duration  `yaml:"max_staleness"`
	MaxHeader        Size           `yaml:"max_header"`
	MaxBody          Size           `yaml:"max_body"`
	DialTimeout      time.Duration  `yaml:"dial_timeout"`
	ResponseTimeout  time.Duration  `yaml:"response_timeout"`
	IdleConns        int            `yaml:"idle_conns"`
	UpstreamCAFile   string         `yaml:"upstream_ca_file"`
	InsecureHTTP     bool           `yaml:"insecure_http"`
	Check            Check          `yaml:"check"`
	Envoy            Check          `yaml:"envoy"`
	Metrics          Metrics        `yaml:"metrics"`
	Routes           []Route        `yaml:"routes"`
}

// Check is where proxies ask before they send a request on.
type Check struct {
	Listen         string         `yaml:"listen"` // "": nowhere
	TLS            TLS            `yaml:"tls"`
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies"`
}

// Route sends requests under one path to one upstream.
type Route struct {
	Host             string        `yaml:"host"`
	Path             string        `yaml:"path"`
	Name             string        `yaml:"name"`
	Open             bool          `yaml:"open"`
	Rules            []Rule        `yaml:"rules"`
	Audience         string        `yaml:"audience"`
	Upstream         string        `yaml:"upstream"`
	UpstreamAudience string        `yaml:"upstream_audience"`
	UpstreamScopes   []string      `yaml:"upstream_scopes"`
	Propagate        string        `yaml:"propagate"`
	AllowStale       time.Duration `yaml:"allow_stale"`
	WhenStale        *WhenStale    `yaml:"when_stale"`
	MaxBody          Size          `yaml:"max_body"`
	CORS             *CORS         `yaml:"cors"`
}

// WhenStale says what becomes of requests while the revocations known are too old.
type WhenStale struct {
	Do   string        `yaml:"do"`
	For  time.Duration `yaml:"for"`
	Else string        `yaml:"else"`
}

// Rule says what requests with certain methods need.
type Rule struct {
	Methods []string `yaml:"methods"`
	Scopes  []string `yaml:"scopes"`
}

// CORS opens a route to scripts of other origins.
type CORS struct {
	Origins []string `yaml:"origins"`
	Methods []string `yaml:"methods"`
	Headers []string `yaml:"headers"`
}

// Size is a number of bytes; -1 is no limit.
type Size int64

// Unlimited is how no limit is written.
const Unlimited = "unlimited"

// Problem is one thing that is wrong with a file.
type Problem struct {
	File    string
	Line    int    // 0: the whole file
	Key     string // its path, e.g. gateway.routes[0].path; "" for none
	Message string // what was expected
}

// Error says file, line, key and what was expected.
func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	b.WriteString(": ")
	if p.Key != "" {
		b.WriteString(p.Key + " ")
	}
	return b.String() + p.Message
}

// Problems is everything that is wrong with a file.
type Problems []Problem

// Error has a line for each.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, one := range p {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// maxFile is far more than anybody writes by hand.
const maxFile = 4 << 20

// Load reads a file and checks how it is written. The error is Problems when the
// file could be read.
func Load(name string) (*File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if len(text) > maxFile {
		return nil, Problems{{File: name, Message: "is larger than 4 MiB"}}
	}
	return Parse(name, text)
}

// Parse is Load for text that was read already.
func Parse(name string, text []byte) (*File, error) {
	root, err := document(text)
	if err != nil {
		line, message := syntax(err)
		return nil, Problems{{File: name, Line: line, Message: message}}
	}
	file := &File{name: name, lines: map[string]int{}}
	d := decoder{file: file}
	if root != nil {
		d.object(root, "", file)
	}
	if len(d.problems) > 0 {
		return nil, d.problems
	}
	if p := file.form(); len(p) > 0 {
		return nil, p
	}
	return file, nil
}

// document returns the root of the one YAML document in text, nil without any.
func document(text []byte) (*yaml.Node, error) {
	d := yaml.NewDecoder(bytes.NewReader(text))
	var first, second yaml.Node
	if err := d.Decode(&first); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		return nil, err
	}
	if err := d.Decode(&second); !errors.Is(err, io.EOF) {
		if err == nil {
			err = fmt.Errorf("line %d: there is a second document, want one", second.Line)
		}
		return nil, err
	}
	return first.Content[0], nil
}

var yamlLine = regexp.MustCompile(`line (\d+): (.*)`)

// syntax takes the line out of an error of the YAML library.
func syntax(err error) (line int, message string) {
	message = strings.TrimPrefix(err.Error(), "yaml: ")
	if m := yamlLine.FindStringSubmatch(message); m != nil {
		line, _ = strconv.Atoi(m[1]) // digits, by the pattern
		message = m[2]
	}
	return line, "is no YAML: " + message
}

// problem is about the key at path, or about the nearest one around it that is there.
func (f *File) problem(path, format string, args ...any) Problem {
	line, at := 0, path
	for at != "" && line == 0 {
		line = f.lines[at]
		at = at[:max(0, strings.LastIndexAny(at, ".["))]
	}
	return Problem{File: f.name, Line: line, Key: path, Message: fmt.Sprintf(format, args...)}
}
