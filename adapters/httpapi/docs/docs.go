// Package docs serves the page on which people read the API and try it. It
// owns the page and all that the page loads, so that it works without a network
// and tells no one who reads it. The API's description itself is served elsewhere.
package docs

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"
)

//go:embed assets page.html
var files embed.FS

// policy lets the page load from its own origin only. Swagger UI's style sheet
// draws its icons from data: URLs; nothing needs inline scripts, inline styles or
// eval.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// asset is one file as it goes out. plain is kept for clients that do not take
// gzip, packed for those that do; it is nil for what is small.
type asset struct {
	contentType   string
	tag           string
	plain, packed []byte
}

// Handler serves the page at /docs and what it loads under /docs/assets/. The
// page shows the OpenAPI document at specURL, which must be of the same origin.
func Handler(specURL string) http.Handler {
	assets := loaded()
	page := newAsset("page.html", render(specURL))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /docs", page.serve)
	mux.Handle("GET /docs/{$}", http.RedirectHandler("/docs", http.StatusMovedPermanently))
	mux.HandleFunc("GET /docs/assets/{name}", func(w http.ResponseWriter, r *http.Request) {
		a, ok := assets[r.PathValue("name")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		a.serve(w, r)
	})
	return mux
}

func render(specURL string) []byte {
	var page bytes.Buffer
	if err := must(template.ParseFS(files, "page.html")).Execute(&page, specURL); err != nil {
		panic(err)
	}
	return page.Bytes()
}

// loaded unpacks what was embedded once, for however many servers.
var loaded = sync.OnceValue(load) //nolint:gochecknoglobals // what it gives never changes

// load reads what was embedded. A file NAME.gz is served as NAME.
func load() map[string]asset {
	assets := map[string]asset{}
	for _, entry := range must(files.ReadDir("assets")) {
		content := must(fs.ReadFile(files, path.Join("assets", entry.Name())))
		name, isPacked := strings.CutSuffix(entry.Name(), ".gz")
		if !isPacked {
			assets[name] = newAsset(name, content)
			continue
		}
		a := newAsset(name, must(io.ReadAll(must(gzip.NewReader(bytes.NewReader(content))))))
		a.packed = content
		assets[name] = a
	}
	return assets
}

func newAsset(name string, content []byte) asset {
	sum := sha256.Sum256(content)
	return asset{contentType: contentType(name), tag: hex.EncodeToString(sum[:8]), plain: content}
}

// contentType knows the few kinds there are; mime's own table depends on the
// machine.
func contentType(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".png":
		return "image/png"
	default:
		return "text/plain; charset=utf-8"
	}
}

// serve answers with the file. A browser may keep it but asks each time whether
// it is still the same, since the names stay as the content changes.
func (a asset) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", a.contentType)
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cache-Control", "no-cache")
	body, tag := a.plain, a.tag
	if a.packed != nil {
		h.Add("Vary", "Accept-Encoding")
		if takesGzip(r) {
			h.Set("Content-Encoding", "gzip")
			body, tag = a.packed, a.tag+"-gzip"
		}
	}
	h.Set("ETag", fmt.Sprintf("%q", tag))
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

func takesGzip(r *http.Request) bool {
	for offer := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		coding, params, err := mime.ParseMediaType(offer)
		if err == nil && coding == "gzip" {
			return strings.Trim(params["q"], "0.") != "" || params["q"] == ""
		}
	}
	return false
}

// must is for what was embedded at build time: wrong, it is wrong for everyone,
// and the first test sees it.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
