package ui

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"mime"
	"net/http"
	"path"
	"strconv"
)

//go:embed assets/*.css assets/*.js assets/*.svg
var assetFiles embed.FS

type asset struct {
	body []byte
	kind string
	sum  string
}

// assets are the files that pages load, by name.
type assets map[string]asset

func loadAssets() assets {
	all := make(assets)
	entries, _ := assetFiles.ReadDir("assets") // The files are embedded, so this cannot fail.
	for _, entry := range entries {
		body, _ := assetFiles.ReadFile(path.Join("assets", entry.Name()))
		sum := sha256.Sum256(body)
		all[entry.Name()] = asset{
			body: body, kind: mime.TypeByExtension(path.Ext(entry.Name())), sum: hex.EncodeToString(sum[:6]),
		}
	}
	return all
}

// address returns a function that gives an asset's URL. The URL changes with the content, so browsers may cache it without limit.
func (a assets) address(base string) func(name string) string {
	return func(name string) string { return link(base, "assets", name) + "?v=" + a[name].sum }
}

// ServeHTTP serves an asset.
func (a assets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	file, ok := a[r.URL.Path]
	if !ok {
		text(w, http.StatusNotFound, "There is nothing here.\n")
		return
	}
	header := w.Header()
	header.Set("Content-Type", file.kind)
	header.Set("Content-Length", strconv.Itoa(len(file.body)))
	header.Set("Cache-Control", "no-cache")
	if r.URL.Query().Get("v") == file.sum {
		header.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	_, _ = w.Write(file.body) // The client has gone.
}
