// Package static serves the stylesheet, the scripts and the icon, which are in the binary.
package static

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"mime"
	"net/http"
	"path"
	"strconv"

	"github.com/daymill/daymill/ui/page"
	"github.com/daymill/daymill/ui/reply"
)

//go:embed *.css *.js *.svg
var assetFiles embed.FS

type asset struct {
	body []byte
	kind string
	sum  string
}

// Files are the files that pages load, by name.
type Files map[string]asset

// Load reads the files.
func Load() Files {
	all := make(Files)
	entries, _ := assetFiles.ReadDir(".") // The files are embedded, so this cannot fail.
	for _, entry := range entries {
		body, _ := assetFiles.ReadFile(entry.Name())
		sum := sha256.Sum256(body)
		all[entry.Name()] = asset{
			body: body, kind: mime.TypeByExtension(path.Ext(entry.Name())), sum: hex.EncodeToString(sum[:6]),
		}
	}
	return all
}

// Address returns a function that gives an asset's URL. The URL changes with the content, so browsers may cache it without limit.
func (a Files) Address(base string) func(name string) string {
	return func(name string) string { return page.Link(base, "assets", name) + "?v=" + a[name].sum }
}

// ServeHTTP serves an asset.
func (a Files) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	file, ok := a[r.URL.Path]
	if !ok {
		reply.Text(w, http.StatusNotFound, "There is nothing here.\n")
		return
	}
	header := w.Header()
	header.Set("Content-Type", file.kind)
	header.Set("Content-Length", strconv.Itoa(len(file.body)))
	header.Set("Cache-Control", "no-cache")
	if r.URL.Query().Get("v") == file.sum {
		header.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	_, _ = w.Write(file.body) // The client closed the connection.
}
