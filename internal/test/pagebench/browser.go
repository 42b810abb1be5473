package main

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// look is what a browser reports about one page.
type look struct {
	Requests int     `json:"requests"`
	Bytes    int     `json:"bytes"` // with headers, as compressed as they were sent
	Paint    float64 `json:"paint"` // until something of the content was painted, in ms
	Links    []string
}

// paint is the size of a window and its colors.
type paint struct {
	name  string
	width int64
	dark  bool
}

func paints() []paint {
	return []paint{{"1280", 1280, false}, {"1280-dark", 1280, true}, {"390", 390, false}, {"390-dark", 390, true}}
}

const lookScript = `new Promise((done) => {
	const look = () => {
		const first = performance.getEntriesByName("first-contentful-paint")[0];
		if (!first) { setTimeout(look, 20); return; }
		const all = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
		done({requests: all.length, bytes: all.reduce((sum, one) => sum + one.transferSize, 0), paint: first.startTime,
			Links: [...document.querySelectorAll("a[href]")].filter((at) => !at.hasAttribute("download")).map((at) => at.href)});
	};
	document.readyState === "complete" ? look() : addEventListener("load", look);
})`

// visit loads every kind of page of a running Daymill in Chromium, each time with an empty cache, and prints what the browser reports. It
// finds pages by following links. With o.shots it also takes their pictures.
func visit(ctx context.Context, o options, out io.Writer) error {
	base, err := url.Parse(o.url)
	if err != nil {
		return fmt.Errorf("read --url: %w", err)
	}
	allocator, cancel := chromedp.NewExecAllocator(ctx, append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("hide-scrollbars", true))...)
	defer cancel()
	ctx, cancel = chromedp.NewContext(allocator)
	defer cancel()
	if err := chromedp.Do(ctx); err != nil {
		return err
	}
	looks := make(map[string][]look)
	todo := []string{base.JoinPath("/").String()}
	var kinds []string
	for seen := map[string]bool{kind(todo[0], base): true}; len(todo) > 0; todo = todo[1:] {
		address := todo[0]
		for range o.rounds {
			l, err := open(ctx, address, o)
			if err != nil {
				return fmt.Errorf("%s: %w", address, err)
			}
			looks[kind(address, base)] = append(looks[kind(address, base)], l)
		}
		kinds = append(kinds, kind(address, base))
		for _, link := range looks[kind(address, base)][0].Links {
			if k := kind(link, base); k != "" && !seen[k] {
				seen[k] = true
				todo = append(todo, link)
			}
		}
	}
	slices.Sort(kinds)
	table := tabwriter.NewWriter(out, 0, 0, 1, ' ', 0)
	fmt.Fprint(table, "| page\t| requests\t| kB\t| first paint, ms\t|\n| ---\t| ---:\t| ---:\t| ---:\t|\n")
	for _, k := range kinds {
		all := looks[k]
		slices.SortFunc(all, func(a, b look) int { return cmp.Compare(a.Paint, b.Paint) })
		middle := all[len(all)/2]
		fmt.Fprintf(table, "| `%s`\t| %d\t| %.1f\t| %.0f\t|\n", k, middle.Requests, float64(middle.Bytes)/1000, middle.Paint)
	}
	return table.Flush()
}

// open loads a page in a profile of its own.
func open(parent context.Context, address string, o options) (l look, err error) {
	ctx, cancel := chromedp.NewContext(parent, chromedp.WithNewBrowserContext())
	defer cancel()
	if _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); err != nil {
		return l, err
	}
	if o.password != "" {
		_, err := chromedp.Call(ctx, network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: network.Headers{
			"Authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte("admin:"+o.password)),
		}})
		if err != nil {
			return l, err
		}
	}
	if err := resize(ctx, paints()[0]); err != nil {
		return l, err
	}
	if err := chromedp.Do(ctx, chromedp.Navigate(address)); err != nil {
		return l, err
	}
	if l, err = chromedp.Run(ctx, chromedp.Evaluate[look](lookScript, chromedp.EvalAwaitPromise)); err != nil || o.shots == "" {
		return l, err
	}
	for _, p := range paints() {
		if err := resize(ctx, p); err != nil {
			return l, err
		}
		picture, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
		if err != nil {
			return l, err
		}
		name := strings.Trim(regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(address[strings.Index(address, "//")+2:]), "-"), "-")
		if err := os.WriteFile(filepath.Join(o.shots, name+"."+p.name+".png"), picture, 0o600); err != nil {
			return l, err
		}
	}
	return l, nil
}

func resize(ctx context.Context, p paint) error {
	_, err := chromedp.Call(ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: p.width, Height: 900, DeviceScaleFactor: 1, Mobile: p.width < 600,
	})
	if err != nil {
		return err
	}
	scheme := map[bool]string{false: "light", true: "dark"}[p.dark]
	_, err = chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}})
	return err
}

// kind returns what the pages of an address have in common: its path, in which * stands for numbers, dates and names. It is empty for other
// servers, for files, and for lists with a filter.
func kind(link string, base *url.URL) string {
	at, err := url.Parse(link)
	if err != nil || at.Host != base.Host || strings.Contains(filepath.Base(at.Path), ".") || strings.HasPrefix(at.Path, "/api") {
		return ""
	}
	parts := strings.Split(strings.Trim(at.Path, "/"), "/")
	if at.RawQuery != "" && parts[0] != "entity" && at.Path != "/jobs/bulk" {
		return ""
	}
	for i := 1; i < len(parts); i++ {
		if parts[i] != "search" && parts[i] != "bulk" {
			parts[i] = "*"
		}
	}
	return "/" + strings.Join(parts, "/")
}
