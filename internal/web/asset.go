package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"net/http"
	"path"
	"strings"
)

//go:embed page asset
var files embed.FS

// asset is a file that never changes under its name.
type asset struct {
	kind string
	body []byte
}

// embed reads the templates and gives the assets names by their content.
func (p *Web) embed() error {
	p.pages = make(map[string]*template.Template)
	for _, name := range []string{"login", "consent", "account", "logout", "invite", "error"} {
		t, err := template.ParseFS(files, "page/layout.html", "page/"+name+".html")
		if err != nil {
			return fmt.Errorf("read page: %w", err)
		}
		p.pages[name] = t
	}
	p.assets = make(map[string]asset)
	for _, a := range []struct {
		name, kind string
		url        *string
	}{
		{"writ.css", "text/css; charset=utf-8", &p.css},
		{"writ.svg", "image/svg+xml", &p.logo},
	} {
		body, err := files.ReadFile("asset/" + a.name)
		if err != nil {
			return fmt.Errorf("read asset: %w", err)
		}
		sum := sha256.Sum256(body)
		ext := path.Ext(a.name)
		name := strings.TrimSuffix(a.name, ext) + "-" + hex.EncodeToString(sum[:8]) + ext
		p.assets[name] = asset{kind: a.kind, body: body}
		*a.url = p.base + "/assets/" + name
	}
	return nil
}

func (p *Web) asset(w http.ResponseWriter, r *http.Request) error {
	a, ok := p.assets[r.PathValue("name")]
	if !ok {
		return errNoPage
	}
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	guardHeaders(h)
	_, _ = w.Write(a.body) // who hung up needs no answer
	return nil
}
