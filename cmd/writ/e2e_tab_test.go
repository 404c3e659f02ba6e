package main_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/writ-auth/writ/internal/store/storetest"
)

// chromium starts the browser that WRIT_TEST_CHROMIUM names, with nothing in it.
// It ends with the test.
func chromium(t *testing.T) context.Context {
	t.Helper()
	path := os.Getenv("WRIT_TEST_CHROMIUM")
	if path == "" {
		if os.Getenv(storetest.Required) != "" {
			t.Fatalf("WRIT_TEST_CHROMIUM is not set, but %s is", storetest.Required)
		}
		t.Skip("WRIT_TEST_CHROMIUM is not set")
	}
	ctx := context.Background()
	if end, ok := t.Deadline(); ok {
		limit, cancel := context.WithDeadline(ctx, end.Add(-2*time.Second))
		t.Cleanup(cancel)
		ctx = limit
	}
	ctx, cancel := chromedp.NewExecAllocator(ctx, append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		// It knows this machine and no other.
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1"),
	)...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	stuck := time.AfterFunc(patience, cancel)
	defer stuck.Stop()
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	return ctx
}

// A tab is a window with cookies and storage of its own, and someone at it with
// mouse and keyboard. Whatever the console or the network complains about fails
// the test, unless the test expects it.
type tab struct {
	ctx    context.Context
	mu     sync.Mutex
	faults []string   // guarded by mu: complaints that nobody expected yet
	went   []*url.URL // guarded by mu: where the tab has been
}

// newTab opens a tab. When the test fails, it tells what was to be seen last.
func newTab(t *testing.T, browser context.Context) *tab {
	t.Helper()
	b := &tab{}
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext(), chromedp.WithListener(b.note))
	t.Cleanup(cancel)
	b.ctx = ctx
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("open a tab: %v", err)
	}
	t.Cleanup(func() { b.finish(t) })
	call(t, b, audits.Enable, cdp.Empty{})
	b.do(t, "set the size", chromedp.EmulateViewport(1280, 800))
	return b
}

func (b *tab) finish(t *testing.T) {
	seen, _ := read[string](b, `location.href.split("?")[0] + "\n" + document.body.innerText`) // before the faults: events come first
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, fault := range b.faults {
		t.Errorf("not expected: %s", fault)
	}
	if t.Failed() {
		t.Logf("the tab shows %s", seen)
	}
}

// note keeps what happens in the tab. It is called in the order of the events.
func (b *tab) note(event any) {
	fault := func(format string, a ...any) { b.faults = append(b.faults, fmt.Sprintf(format, a...)) }
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		fault("exception: %s %s", e.ExceptionDetails.Text, words(e.ExceptionDetails.Exception))
	case *runtime.EventConsoleAPICalled:
		fault("console.%s: %s", e.Type, words(e.Args...))
	case *log.EventEntryAdded:
		if e.Entry.Source != log.EntrySourceNetwork { // those are told below, with the status
			fault("%s %s: %s", e.Entry.Source, e.Entry.Level, strings.TrimSpace(e.Entry.Text))
		}
	case *audits.EventIssueAdded:
		fault("issue: %s", e.Issue.Code)
	case *network.EventResponseReceived:
		if e.Response.Status >= 400 {
			address, _, _ := strings.Cut(e.Response.URL, "?")
			fault("network: %d from %s", e.Response.Status, address)
		}
	case *network.EventLoadingFailed:
		if !e.Canceled { // who leaves a page cancels what it was loading
			fault("network: %s: %s %s", e.Type, e.ErrorText, e.BlockedReason)
		}
	case *page.EventFrameNavigated:
		if u, err := url.Parse(e.Frame.URL); err == nil && e.Frame.ParentID == "" {
			b.went = append(b.went, u)
		}
	}
}

// words is what is written in values of a page.
func words(values ...*runtime.RemoteObject) string {
	var all []string
	for _, v := range values {
		if v != nil {
			all = append(all, cmp.Or(v.Description, string(v.Value)))
		}
	}
	return strings.Join(all, " ")
}

// expect waits for a complaint that has these words in it, and forgives it.
func (b *tab) expect(t *testing.T, words string) {
	t.Helper()
	eventually(t, "the browser complains: "+words, func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		i := slices.IndexFunc(b.faults, func(s string) bool { return strings.Contains(s, words) })
		if i < 0 {
			return fmt.Errorf("complaints: %q", b.faults)
		}
		b.faults = slices.Delete(b.faults, i, i+1)
		return nil
	})
}

// call sends the tab a command of the DevTools protocol.
func call[P, R any](t *testing.T, b *tab, command cdp.Command[P, R], params P) R {
	t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	result, err := chromedp.Call(ctx, command, params)
	if err != nil {
		t.Fatalf("%s: %v", command.Method, err)
	}
	return result
}

// do does something in the tab.
func (b *tab) do(t *testing.T, what string, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// read evaluates an expression in the page. That works where scripts are off, too.
func read[T any](b *tab, expression string) (T, error) {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](expression))
}

// get is read for what must be there.
func get[T any](t *testing.T, b *tab, expression string) T {
	t.Helper()
	v, err := read[T](b, expression)
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// text is what people can read in an element.
func (b *tab) text(t *testing.T, element string) string {
	t.Helper()
	return get[string](t, b, fmt.Sprintf("document.querySelector(%q).innerText", element))
}

// until waits for an expression about the page to become true.
func (b *tab) until(t *testing.T, what, expression string) {
	t.Helper()
	eventually(t, what, func() error {
		ok, err := read[bool](b, expression)
		if err == nil && !ok {
			err = errors.New(expression)
		}
		return err
	})
}

// at waits until the tab shows a page with an element that can be seen.
func (b *tab) at(t *testing.T, address, element string) {
	t.Helper()
	b.until(t, address+" shows "+element, fmt.Sprintf(`document.readyState === "complete" &&
		location.origin + location.pathname === %q && Boolean(document.querySelector(%q)?.checkVisibility())`, address, element))
}

// visit types an address into the tab, so to speak.
func (b *tab) visit(t *testing.T, address string) {
	t.Helper()
	path, _, _ := strings.Cut(address, "?")
	b.do(t, "visit "+path, chromedp.Navigate(address))
}

func (b *tab) click(t *testing.T, element string) {
	t.Helper()
	b.do(t, "click "+element, chromedp.Click(chromedp.CSS(element)))
}

// press types text and presses keys.
func (b *tab) press(t *testing.T, keys ...string) {
	t.Helper()
	b.do(t, "press keys", chromedp.KeyEvent(strings.Join(keys, "")))
}

// back waits until the browser was sent to an address with this state, and
// returns the whole query.
func (b *tab) back(t *testing.T, address, state string) url.Values {
	t.Helper()
	var answer url.Values
	eventually(t, "the browser is sent to "+address, func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, u := range b.went {
			if answer = u.Query(); strings.HasPrefix(u.String(), address+"?") && answer.Get("state") == state {
				return nil
			}
		}
		return errors.New("not yet")
	})
	return answer
}

// focus names the element that has the focus: by its id, else by where it leads.
// It must be plain to see where the focus is.
func (b *tab) focus(t *testing.T) string {
	t.Helper()
	f := get[struct {
		Name  string
		Plain bool
	}](t, b, `(() => {
		const e = document.activeElement, s = getComputedStyle(e), r = e.getBoundingClientRect();
		const name = e.id ? "#" + e.id : e.pathname ?? (e.form ? new URL(e.form.action).pathname : e.tagName === "BODY" ? "" : e.innerText);
		const ring = e.matches(":focus-visible") && s.outlineStyle === "solid" && parseFloat(s.outlineWidth) >= 2;
		return {Name: name, Plain: ring && r.width > 1 && r.height > 1 && r.top >= 0 && r.bottom <= innerHeight};
	})()`)
	if f.Name != "" && !f.Plain {
		t.Errorf("the focus is on %s, but that cannot be seen", f.Name)
	}
	return f.Name
}

// walk presses Tab from the focus, or from the top of the page where nothing has
// it, until it has been all around, and names each stop.
func (b *tab) walk(t *testing.T) []string {
	t.Helper()
	var stops []string
	for range 40 {
		stop := b.focus(t)
		switch {
		case stop == "": // before the top, or past the end, where a window would have its bars
		case len(stops) > 0 && stop == stops[0]:
			return stops
		default:
			stops = append(stops, stop)
		}
		b.press(t, kb.Tab)
	}
	t.Fatalf("Tab does not come back to where it began: %q", stops)
	return nil
}

// reach presses Tab until an element has the focus.
func (b *tab) reach(t *testing.T, element string) {
	t.Helper()
	for range 40 {
		if b.focus(t) == element {
			return
		}
		b.press(t, kb.Tab)
	}
	t.Fatalf("Tab does not lead to %q", element)
}

// focused waits for the page to put the focus on an element by itself.
func (b *tab) focused(t *testing.T, id string) {
	t.Helper()
	b.until(t, "the focus is on "+id, fmt.Sprintf("document.activeElement.id === %q", id))
}

// look checks that a page fits a telephone. Where WRIT_TEST_SHOTS names a
// directory, it leaves pictures there.
func (b *tab) look(t *testing.T, name string) {
	t.Helper()
	const wide, narrow = 1280, 390
	dir := os.Getenv("WRIT_TEST_SHOTS")
	phone := chromedp.EmulateViewport(narrow, 844, chromedp.EmulateMobile, chromedp.EmulateScale(2))
	desk := chromedp.EmulateViewport(wide, 800)
	b.do(t, "take the telephone", phone)
	if got := get[int](t, b, "document.documentElement.scrollWidth"); got > narrow {
		t.Errorf("%s is %d pixels wide, want at most %d", name, got, narrow)
	}
	for _, scheme := range []string{"dark", "light"} {
		if dir == "" {
			break
		}
		call(t, b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}},
		})
		b.do(t, "take the telephone", phone)
		b.shoot(t, filepath.Join(dir, fmt.Sprintf("%s-%d-%s.png", name, narrow, scheme)))
		b.do(t, "take the desk", desk)
		b.shoot(t, filepath.Join(dir, fmt.Sprintf("%s-%d-%s.png", name, wide, scheme)))
	}
	b.do(t, "take the desk", desk)
}

func (b *tab) shoot(t *testing.T, path string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	picture, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		t.Fatalf("take a picture: %v", err)
	}
	if err := os.WriteFile(path, picture, 0o600); err != nil {
		t.Fatal(err)
	}
}
