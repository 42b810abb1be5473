// Package browser drives a real Chromium for tests: one process per test binary, and a separate profile per page.
package browser

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// patience is how long a test waits for a page, on a machine that is busy with other tests.
const patience = 2 * time.Minute

// ErrNotFound says that there is no browser.
var ErrNotFound = errors.New("there is no Chromium on this machine: install your system's package of it (chromium), or Google Chrome")

// Find returns the path of a Chromium.
func Find() (string, error) {
	for _, name := range []string{
		"chromium", "chromium-browser", "google-chrome", "google-chrome-stable",
		"/Applications/Google Chrome.app/Contents/MacOS/Google Chrome", "/Applications/Chromium.app/Contents/MacOS/Chromium",
	} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", ErrNotFound
}

// process is the browser of this test binary.
type process struct {
	once   sync.Once
	ctx    context.Context //nolint:containedctx // chromedp's handle of the browser.
	cancel func()
	err    error
}

var shared process //nolint:gochecknoglobals // One browser for all tests of a binary.

// Stop ends the browser of this test binary, for TestMain.
func Stop() {
	if shared.cancel != nil {
		shared.cancel()
	}
}

func (p *process) start() {
	path, err := Find()
	if err != nil {
		p.err = err
		return
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		// Containers have neither the rights that its sandbox needs nor a large /dev/shm. It only loads the test's pages.
		chromedp.NoSandbox, chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("disable-gpu", true), chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("hide-scrollbars", true),
		chromedp.WSURLReadTimeout(patience),
	)
	allocator, cancelAllocator := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocator)
	p.ctx, p.cancel = ctx, func() { cancel(); cancelAllocator() }
	p.err = chromedp.Do(ctx)
}

// Options of a page. The zero value is a light page 1280 pixels wide, with JavaScript and without credentials.
type Options struct {
	User, Password string
	Dark           bool
	Width, Height  int // in CSS pixels
	NoJavaScript   bool
}

// Page is a tab with a separate profile. An error in its console, including a violation of its Content-Security-Policy, fails the test when it
// ends.
type Page struct {
	ctx context.Context //nolint:containedctx // chromedp's handle of the tab.

	mu       sync.Mutex
	problems []string
}

// Open opens a page for a test, which closes it at its end.
func Open(tb testing.TB, options Options) *Page {
	tb.Helper()
	shared.once.Do(shared.start)
	require.NoError(tb, shared.err)
	ctx, cancel := chromedp.NewContext(shared.ctx, chromedp.WithNewBrowserContext())
	page := &Page{ctx: ctx}
	tb.Cleanup(func() {
		cancel()
		page.mu.Lock()
		defer page.mu.Unlock()
		require.Empty(tb, page.problems, "the browser's console")
	})
	require.NoError(tb, chromedp.Listen(ctx, page.listen))
	require.NoError(tb, page.call(
		command(network.Enable, network.EnableParams{}), command(log.Enable, cdp.Empty{}), command(runtime.Enable, cdp.Empty{}),
		command(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: options.NoJavaScript}),
	))
	page.Emulate(tb, options)
	if options.User != "" {
		credentials := base64.StdEncoding.EncodeToString([]byte(options.User + ":" + options.Password))
		require.NoError(tb, page.call(command(network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{
			Headers: network.Headers{"Authorization": "Basic " + credentials},
		})))
	}
	return page
}

// Emulate gives the page the width, the height and the colors of options, and does not load it again.
func (p *Page) Emulate(tb testing.TB, options Options) {
	tb.Helper()
	width, height := int64(cmp.Or(options.Width, 1280)), int64(cmp.Or(options.Height, 900))
	scheme := "light"
	if options.Dark {
		scheme = "dark"
	}
	require.NoError(tb, p.call(
		command(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
			Width: width, Height: height, DeviceScaleFactor: 1, Mobile: width < 600,
		}),
		command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
		}}),
	))
}

func (p *Page) call(commands ...func(ctx context.Context) error) error {
	for _, c := range commands {
		if err := c(p.ctx); err != nil {
			return err
		}
	}
	return nil
}

func command[P, R any](c cdp.Command[P, R], params P) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		_, err := chromedp.Call(ctx, c, params)
		return err
	}
}

func (p *Page) listen(event any) {
	problem := ""
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		problem = fmt.Sprintf("%s %s", e.ExceptionDetails.Text, arguments([]*runtime.RemoteObject{e.ExceptionDetails.Exception}))
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning {
			problem = fmt.Sprintf("console.%s: %s", e.Type, arguments(e.Args))
		}
	case *log.EventEntryAdded:
		// Tests of refusals cause answers with a status of 400 or more.
		if e.Entry.Level == log.EntryLevelError && e.Entry.Source != log.EntrySourceNetwork {
			problem = fmt.Sprintf("%s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	}
	if problem != "" {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.problems = append(p.problems, problem)
	}
}

func arguments(all []*runtime.RemoteObject) string {
	var text strings.Builder
	for _, a := range all {
		if a != nil {
			fmt.Fprintf(&text, "%s%s ", a.Value, a.Description)
		}
	}
	return text.String()
}

// Do runs actions one after another, and fails the test if one does not succeed in time.
func (p *Page) Do(tb testing.TB, actions ...chromedp.Action[chromedp.Void]) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	for _, action := range actions {
		err := chromedp.Do(ctx, action)
		for replaced(err) && ctx.Err() == nil {
			err = chromedp.Do(ctx, action)
		}
		if err != nil {
			tb.Fatalf("the browser: %v; the page:\n%s", err, p.dump())
		}
	}
}

// replaced reports whether an action found an element, but the browser replaced the document's nodes before it could do anything with it.
func replaced(err error) bool {
	return err != nil && strings.Contains(err.Error(), "Could not find node with given id")
}

// get runs an action that returns something.
func get[T any](tb testing.TB, p *Page, action chromedp.Action[T]) T {
	tb.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, action)
	for replaced(err) && ctx.Err() == nil {
		value, err = chromedp.Run(ctx, action)
	}
	if err != nil {
		tb.Fatalf("the browser: %v; the page:\n%s", err, p.dump())
	}
	return value
}

// dump returns the text of the page, for the message of a failed test.
func (p *Page) dump() string {
	ctx, cancel := context.WithTimeout(p.ctx, 5*time.Second)
	defer cancel()
	location, _ := chromedp.Run(ctx, chromedp.Location())                                   // Only for a message.
	text, _ := chromedp.Run(ctx, chromedp.Text(chromedp.CSS("body"), chromedp.NodeVisible)) // As above.
	return location + "\n" + text
}

// Go loads an address.
func (p *Page) Go(tb testing.TB, address string) {
	tb.Helper()
	p.Do(tb, chromedp.Navigate(address))
}

// Location returns the page's address.
func (p *Page) Location(tb testing.TB) string {
	tb.Helper()
	return get(tb, p, chromedp.Location())
}

// Click clicks the first visible element that an XPath or CSS selector finds.
func (p *Page) Click(tb testing.TB, selector string) {
	tb.Helper()
	p.Do(tb, chromedp.Click(selector, chromedp.NodeVisible))
}

// See waits until a selector finds something visible.
func (p *Page) See(tb testing.TB, selector string) {
	tb.Helper()
	p.Do(tb, chromedp.WaitVisible(selector))
}

// Text returns the text of the first element that a selector finds.
func (p *Page) Text(tb testing.TB, selector string) string {
	tb.Helper()
	return get(tb, p, chromedp.Text(selector))
}

// Fill replaces the value of a field.
func (p *Page) Fill(tb testing.TB, selector, value string) {
	tb.Helper()
	p.Do(tb, chromedp.SetValue(selector, value))
}

// Type presses the keys of a text, one after another, in the element with the focus: \t is Tab, and \r is Enter.
func (p *Page) Type(tb testing.TB, keys string) {
	tb.Helper()
	p.Do(tb, chromedp.KeyEvent(keys))
}

// Evaluate runs a script on a page, awaits its result if that is a promise, and returns it.
func Evaluate[T any](tb testing.TB, p *Page, script string) T {
	tb.Helper()
	return get(tb, p, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
}

// Screenshot returns the whole page as PNG.
func (p *Page) Screenshot(tb testing.TB) []byte {
	tb.Helper()
	return get(tb, p, chromedp.FullScreenshot(100))
}
