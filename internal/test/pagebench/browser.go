package main

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
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

	"github.com/daymill/daymill/ui/door"
)

// report is what a browser reports about one page.
type report struct {
	Requests int     `json:"requests"`
	Bytes    int     `json:"bytes"` // with headers, as compressed as they were sent
	Paint    float64 `json:"paint"` // until something of the content was painted, in ms
	Status   int     `json:"status"`
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
			status: performance.getEntriesByType("navigation")[0].responseStatus,
			Links: [...document.querySelectorAll("a[href]")].filter((at) => !at.hasAttribute("download")).map((at) => at.href)});
	};
	document.readyState === "complete" ? look() : addEventListener("load", look);
})`

// visit follows the links of a running Daymill, and looks at one page of each kind.
func visit(ctx context.Context, o options, out io.Writer) error {
	return look(ctx, o, []string{"/"}, true, out)
}

// kinds returns one address of each kind of page, including those to which no page links. TestKinds compares them with the routes.
func kinds(o options) (addresses []string) {
	seen := make(map[string]bool)
	for _, path := range append(paths(o), door.LoginPath) {
		at, _, _ := strings.Cut(path, "?")
		if k := kind(at); k != "" && !seen[k] {
			seen[k] = true
			addresses = append(addresses, path)
		}
	}
	return addresses
}

// look loads pages of the server at o.url in Chromium, each time with an empty cache, and prints what the browser reports. If follow is true, it
// also loads one page of each kind to which these link. With o.shots it takes their pictures, too.
func look(ctx context.Context, o options, paths []string, follow bool, out io.Writer) error {
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
	reports := make(map[string][]report)
	var todo, names []string
	seen := make(map[string]bool)
	for _, path := range paths {
		todo = append(todo, strings.TrimSuffix(o.url, "/")+path)
		seen[kind(path)] = true
	}
	for ; len(todo) > 0; todo = todo[1:] {
		at, err := url.Parse(todo[0])
		if err != nil {
			return fmt.Errorf("read an address: %w", err)
		}
		name := kind(at.Path)
		for range o.rounds {
			r, err := open(ctx, todo[0], o)
			if err != nil {
				return fmt.Errorf("%s: %w", todo[0], err)
			}
			reports[name] = append(reports[name], r)
		}
		names = append(names, name)
		for _, link := range reports[name][0].Links {
			if k := linked(link, base); follow && k != "" && !seen[k] {
				seen[k] = true
				todo = append(todo, link)
			}
		}
	}
	slices.Sort(names)
	table := tabwriter.NewWriter(out, 0, 0, 1, ' ', 0)
	fmt.Fprint(table, "| page\t| requests\t| kB\t| first paint, ms\t|\n| ---\t| ---:\t| ---:\t| ---:\t|\n")
	for _, name := range names {
		all := reports[name]
		slices.SortFunc(all, func(a, b report) int { return cmp.Compare(a.Paint, b.Paint) })
		middle := all[len(all)/2]
		fmt.Fprintf(table, "| `%s`\t| %d\t| %.1f\t| %.0f\t|\n", name, middle.Requests, float64(middle.Bytes)/1000, middle.Paint)
	}
	return table.Flush()
}

// open loads a page in a profile of its own.
func open(parent context.Context, address string, o options) (r report, err error) {
	ctx, cancel := chromedp.NewContext(parent, chromedp.WithNewBrowserContext())
	defer cancel()
	if _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); err != nil {
		return r, err
	}
	if o.password != "" {
		_, err := chromedp.Call(ctx, network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: network.Headers{
			"Authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte("admin:"+o.password)),
		}})
		if err != nil {
			return r, err
		}
	}
	if err := resize(ctx, paints()[0]); err != nil {
		return r, err
	}
	if err := chromedp.Do(ctx, chromedp.Navigate(address)); err != nil {
		return r, err
	}
	if r, err = chromedp.Run(ctx, chromedp.Evaluate[report](lookScript, chromedp.EvalAwaitPromise)); err != nil {
		return r, err
	}
	if r.Status != http.StatusOK {
		return r, fmt.Errorf("status %d", r.Status) //nolint:err113 // It is printed.
	}
	if o.shots == "" {
		return r, nil
	}
	for _, p := range paints() {
		if err := resize(ctx, p); err != nil {
			return r, err
		}
		picture, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
		if err != nil {
			return r, err
		}
		name := strings.Trim(regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(address[strings.Index(address, "//")+2:]), "-"), "-")
		if err := os.WriteFile(filepath.Join(o.shots, name+"."+p.name+".png"), picture, 0o600); err != nil {
			return r, err
		}
	}
	return r, nil
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

// kind returns what the pages of a path have in common: the path, in which * stands for numbers, dates and names. It is empty for files and the
// API.
func kind(path string) string {
	if strings.Contains(filepath.Base(path), ".") || strings.HasPrefix(path, "/api") {
		return ""
	}
	parts := strings.Split(strings.Trim(path, "/"), "/")
	for i := 1; i < len(parts); i++ {
		if !slices.Contains([]string{"search", "bulk", "result"}, parts[i]) {
			parts[i] = "*"
		}
	}
	return "/" + strings.Join(parts, "/")
}

// linked returns the kind of the page that a link leads to. It is empty for other servers, and for lists with a filter.
func linked(link string, base *url.URL) string {
	at, err := url.Parse(link)
	if err != nil || at.Host != base.Host || at.RawQuery != "" && at.Path != "/entity" && at.Path != "/jobs/bulk" {
		return ""
	}
	return kind(at.Path)
}
