//go:build e2e && linux

// Package page opens raytap's page in a real browser: the real raytap on a fake
// head, one of whose logs cannot be read, and on an address where nobody listens.
package page

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"raytap/ray/raytest"
	"raytap/test/program"
)

func TestMain(m *testing.M) { os.Exit(program.Main(m)) }

// screen is what the page is looked at on.
type screen struct {
	name          string
	width, height int
	phone         bool
	colours       string
}

var screens = []screen{
	{"phone-light", 390, 844, true, "light"},
	{"phone-dark", 390, 844, true, "dark"},
	{"small-phone-dark", 320, 568, true, "dark"},
	{"desk-light", 1280, 900, false, "light"},
	{"desk-dark", 1280, 900, false, "dark"},
}

// jobs are the ids of the submissions; the first one's log cannot be read, and
// the last one's id is as long as users make them.
var jobs = []string{"raysubmit_LostItsLog", "raysubmit_nVPpPCMFCB4QdPmT", "raysubmit_Fq6WwbcXUBuaQ7cE",
	"nightly-training-of-the-recommendation-model-in-eu-central-1-with-all-features-2026-11-24"}

// seen is what a browser makes of the page.
type seen struct {
	Title      string            `json:"title"`
	Text       string            `json:"text"`
	Clusters   map[string]string `json:"clusters"` // their states
	Jobs       []string          `json:"jobs"`
	Errors     []string          `json:"errors"`
	Width      int               `json:"width"`  // of all that there is
	Beyond     []string          `json:"beyond"` // what reaches out of the window, and may not
	Background []int             `json:"background"`
	Foreground []int             `json:"foreground"`
}

// look is evaluated in the page. What lies in a box that scrolls by itself may
// be wider than the window; the streams and errors lie in none.
const look = `(() => {
	const text = e => e.textContent.trim(), all = (q, of = document) => [...of.querySelectorAll(q)];
	const colour = c => c.match(/\d+/g).slice(0, 3).map(Number);
	const style = getComputedStyle(document.body);
	const out = e => { const r = e.getBoundingClientRect(); return r.left < 0 || r.right > document.documentElement.clientWidth + 0.5; };
	return {
		title: document.title,
		text: document.body.innerText,
		clusters: Object.fromEntries(all('section .head').filter(h => h.querySelector('b')).map(h => [text(h.querySelector('b')), text(h.querySelector('.pill'))])),
		jobs: all('details code').map(text),
		errors: all('.error').filter(e => e.checkVisibility()).map(text),
		width: document.documentElement.scrollWidth,
		beyond: all('body *').filter(e => out(e) && (e.matches('.error') || !e.closest('.scroll'))).map(e => e.outerHTML.slice(0, 120)),
		background: colour(style.backgroundColor),
		foreground: colour(style.color),
	};
})()`

func TestStatusPage_Screens(t *testing.T) {
	url, nobody := watched(t)
	b := newBrowser(t)
	dir := t.TempDir()
	if keep := os.Getenv("PAGE_SCREENSHOTS"); keep != "" {
		dir = keep
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range screens {
		b.open(url+"/", s)
		var page seen
		b.eval(&page, look)
		b.screenshot(filepath.Join(dir, s.name+".png"))
		check(t, s, page, nobody)
		for _, c := range b.complaints {
			t.Errorf("%s: the browser complains: %s", s.name, c)
		}
	}
}

// check holds one look at the page against what there is to see.
func check(t *testing.T, s screen, page seen, nobody string) {
	t.Helper()
	if page.Clusters["production"] != "up" || page.Clusters["staging"] != "down" || len(page.Clusters) != 2 {
		t.Errorf("%s: the clusters are %v", s.name, page.Clusters)
	}
	if !strings.Contains(page.Title, "1 down") {
		t.Errorf("%s: the title %q does not tell of the cluster that is down", s.name, page.Title)
	}
	if got := slices.Sorted(slices.Values(page.Jobs)); !slices.Equal(got, slices.Sorted(slices.Values(jobs))) {
		t.Errorf("%s: the streams are %q", s.name, got)
	}
	for what, part := range map[string]string{"the log that cannot be read": "the disk of this log is gone", "the cluster that is down": "connection refused"} {
		if !slices.ContainsFunc(page.Errors, func(e string) bool { return strings.Contains(e, part) }) {
			t.Errorf("%s: nothing is seen of %s: %q", s.name, what, page.Errors)
		}
	}
	if !strings.Contains(page.Text, nobody) {
		t.Errorf("%s: the address of the cluster that is down is not seen", s.name)
	}
	if page.Width > s.width || len(page.Beyond) > 0 {
		t.Errorf("%s: the page is %d pixels wide in a window of %d; out of it are %q", s.name, page.Width, s.width, page.Beyond)
	}
	light := func(c []int) bool { return len(c) == 3 && c[0]+c[1]+c[2] > 3*128 }
	if dark := s.colours == "dark"; light(page.Background) == dark || light(page.Foreground) != dark {
		t.Errorf("%s: %v on %v", s.name, page.Foreground, page.Background)
	}
}

// watched starts raytap on both clusters, and waits until its status tells all
// that the page is to show. nobody is the address of the one that is down.
func watched(t *testing.T) (url, nobody string) {
	t.Helper()
	head := raytest.New(t)
	head.Inject(raytest.Fault{Endpoint: raytest.EndpointNodeAgent, Job: jobs[0], Status: 500, Body: "the disk of this log is gone"})
	head.Inject(raytest.Fault{Endpoint: raytest.EndpointTail, Job: jobs[0], Status: 500, Body: "the disk of this log is gone"})
	head.Inject(raytest.Fault{Endpoint: raytest.EndpointLogFile, Job: jobs[0], Status: 500, Body: "the disk of this log is gone"})
	for i, id := range jobs {
		job := head.Submit(id, raytest.JobOptions{})
		for line := range 1000 * i {
			job.Printf("epoch %d: loss 0.%04d\n", line/100, line)
		}
	}
	nobody = program.FreeAddress(t)
	dir := t.TempDir()
	config := program.File(t, filepath.Join(dir, "raytap.yaml"), fmt.Sprintf(`
clusters:
  - {name: production, url: %s}
  - {name: staging, url: http://%s}
shipper:
  discovery: {interval: 500ms}
  backoff: {initial: 50ms, max: 1s}
  grace_period: 100ms
  positions: {interval: 200ms}
sink: {file: {path: %s, fsync: never}}
`, head.URL(), nobody, filepath.Join(dir, "lines.jsonl")))
	p, url := program.Serve(t, program.Raytap(t, "--config.file", config))
	program.Get(url + "/metrics") // the collectors show how they fared in a scrape
	p.Until(time.Minute, "the status tells of both clusters and of all streams", func() bool {
		var status struct {
			Clusters []struct {
				State string `json:"state"`
				Tails []struct {
					ID    string `json:"submission_id"`
					Lines int    `json:"lines"`
					Error string `json:"error"`
				} `json:"tails"`
			} `json:"clusters"`
		}
		if json.Unmarshal([]byte(program.Get(url+"/api/v1/status")), &status) != nil || len(status.Clusters) != 2 {
			return false
		}
		told := 0
		for _, c := range status.Clusters {
			for _, st := range c.Tails {
				if i := slices.Index(jobs, st.ID); i == 0 && st.Error != "" || i > 0 && st.Lines >= 1000*i && st.Error == "" {
					told++
				}
			}
		}
		return told == len(jobs) && status.Clusters[0].State == "up" && status.Clusters[1].State == "down"
	})
	return url, nobody
}
