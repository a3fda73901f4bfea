package browser_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// TestTheDocsPage draws every operation and tries one, within its policy and
// without asking another host.
func TestTheDocsPage(t *testing.T) {
	t.Parallel()
	api := secure("api.kubebyon.test")
	p := visit(t, "about:blank")
	var mu sync.Mutex
	var complaints, asked []string
	p.must(chromedp.Listen(p.ctx, func(event any) {
		mu.Lock()
		defer mu.Unlock()
		switch e := event.(type) {
		case *log.EventEntryAdded:
			complaints = append(complaints, e.Entry.Text+" "+e.Entry.URL)
		case *runtime.EventExceptionThrown:
			complaints = append(complaints, e.ExceptionDetails.Text)
		case *network.EventRequestWillBeSent:
			asked = append(asked, e.Request.URL)
		}
	}))
	p.goTo(api + "/docs")
	var document struct {
		Paths map[string]map[string]json.RawMessage
	}
	p.must(json.Unmarshal([]byte(p.fetch("/openapi.json", nil).Text), &document))
	operations := 0
	for _, path := range document.Paths {
		operations += len(path)
	}
	drawn := 0
	for limit := time.Now().Add(30 * time.Second); drawn != operations; time.Sleep(20 * time.Millisecond) {
		if drawn = evaluate[int](p, `return document.querySelectorAll(".opblock").length;`); time.Now().After(limit) {
			t.Fatalf("the page shows %d operations, want %d", drawn, operations)
		}
	}
	const version = `[id$="-getVersion"]`
	p.must(chromedp.Do(p.ctx,
		chromedp.Click(chromedp.CSS(version+" .opblock-summary-control")), chromedp.Click(chromedp.CSS(version+" .try-out__btn")),
		chromedp.Click(chromedp.CSS(version+" .execute")), chromedp.WaitVisible(chromedp.CSS(version+" .live-responses-table")),
	))
	shown := evaluate[string](p, `return document.querySelector(args[0]).innerText;`, version+" .live-responses-table .response")
	if !strings.Contains(shown, "200") || !strings.Contains(shown, "go_version") {
		t.Errorf("trying a call shows %s", shown)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(complaints) > 0 {
		t.Errorf("the browser complains: %s", strings.Join(complaints, "\n"))
	}
	for _, url := range asked {
		if !strings.HasPrefix(url, api+"/") && !strings.HasPrefix(url, "data:") {
			t.Errorf("the page asks %s", url)
		}
	}
	if len(asked) < 4 {
		t.Errorf("only %d requests were seen: %v", len(asked), fmt.Sprint(asked))
	}
}
