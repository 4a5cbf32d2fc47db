//go:build e2e && linux

// Package page opens raytap's status page in a real browser. raytap is real; one cluster
// is a fake head with a log that cannot be read, the other one is down.
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

	"raytap/ray"
	"raytap/ray/raytest"
	"raytap/test/program"
)

func TestMain(m *testing.M) { os.Exit(program.Main(m)) }

// screen is a screen size and colour scheme.
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

// jobs are submission IDs. The log of the first one cannot be read; the last one is a
// long ID.
var jobs = []string{"raysubmit_LostItsLog", "raysubmit_nVPpPCMFCB4QdPmT", "raysubmit_Fq6WwbcXUBuaQ7cE",
	"nightly-training-of-the-recommendation-model-in-eu-central-1-with-all-features-2026-11-24"}

// rendered is the page in the browser.
type rendered struct {
	Title      string            `json:"title"`
	Text       string            `json:"text"`
	Clusters   map[string]string `json:"clusters"` // states by name
	Jobs       []string          `json:"jobs"`
	Errors     []string          `json:"errors"`
	Width      int               `json:"width"`  // of the whole page
	Beyond     []string          `json:"beyond"` // elements outside of the window that should not be
	Background []int             `json:"background"`
	Foreground []int             `json:"foreground"`
}

// inspect returns a rendered. Elements in a scrollable box may be wider than the window;
// tails and errors are not in such a box.
const inspect = `(() => {
	const text = e => e.textContent.trim(), all = (q, of = document) => [...of.querySelectorAll(q)];
	const colour = c => c.match(/\d+/g).slice(0, 3).map(Number);
	const style = getComputedStyle(document.body);
	const out = e => { const r = e.getBoundingClientRect(); return r.left < 0 || r.right > document.documentElement.clientWidth + 0.5; };
	return {
		title: document.title,
		text: document.body.innerText,
		clusters: Object.fromEntries(all('section .head').filter(h => h.querySelector('b')).map(h => [text(h.querySelector('b')), text(h.querySelector('.pill'))])),
		jobs: all('.jobs code').map(text),
		errors: all('.error').filter(e => e.checkVisibility()).map(text),
		width: document.documentElement.scrollWidth,
		beyond: all('body *').filter(e => out(e) && (e.matches('.error') || !e.closest('.scroll'))).map(e => e.outerHTML.slice(0, 120)),
		background: colour(style.backgroundColor),
		foreground: colour(style.color),
	};
})()`

func TestStatusPage_Screens(t *testing.T) {
	url, down := startRaytap(t)
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
		var page rendered
		b.eval(&page, inspect)
		b.screenshot(filepath.Join(dir, s.name+".png"))
		check(t, s, page, down)
		for _, c := range b.problems {
			t.Errorf("%s: browser message: %s", s.name, c)
		}
	}
}

// check checks the page on one screen.
func check(t *testing.T, s screen, page rendered, down string) {
	t.Helper()
	if page.Clusters["production"] != "up" || page.Clusters["staging"] != "down" || len(page.Clusters) != 2 {
		t.Errorf("%s: the clusters are %v", s.name, page.Clusters)
	}
	if !strings.Contains(page.Title, "1 down") {
		t.Errorf("%s: the title %q does not contain the number of clusters that are down", s.name, page.Title)
	}
	if got := slices.Sorted(slices.Values(page.Jobs)); !slices.Equal(got, slices.Sorted(slices.Values(jobs))) {
		t.Errorf("%s: the tails are %q", s.name, got)
	}
	for what, part := range map[string]string{
		"the log that cannot be read": "the disk of this log is gone", "the log of a worker that cannot be read": "get log file of node agent: 500",
		"the node whose agent is down": "list log files of node agent: 503", "the cluster that is down": "connection refused",
	} {
		if !slices.ContainsFunc(page.Errors, func(e string) bool { return strings.Contains(e, part) }) {
			t.Errorf("%s: no error about %s: %q", s.name, what, page.Errors)
		}
	}
	if want := "7 logs on 3 nodes are read, 1 failing, 1 node not readable"; !strings.Contains(page.Text, want) {
		t.Errorf("%s: the page lacks %q:\n%s", s.name, want, page.Text)
	}
	if !strings.Contains(page.Text, down) {
		t.Errorf("%s: the address of the cluster that is down is missing", s.name)
	}
	if page.Width > s.width || len(page.Beyond) > 0 {
		t.Errorf("%s: the page is %d pixels wide in a window of %d; outside of it: %q", s.name, page.Width, s.width, page.Beyond)
	}
	light := func(c []int) bool { return len(c) == 3 && c[0]+c[1]+c[2] > 3*128 }
	if dark := s.colours == "dark"; light(page.Background) == dark || light(page.Foreground) != dark {
		t.Errorf("%s: %v on %v", s.name, page.Foreground, page.Background)
	}
}

// startRaytap starts raytap on both clusters, and waits until its status has everything
// that the page must show. down is the address of the cluster that is down.
func startRaytap(t *testing.T) (url, down string) {
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
	workers(t, head)
	down = program.FreeAddress(t)
	dir := t.TempDir()
	config := program.File(t, filepath.Join(dir, "raytap.yaml"), fmt.Sprintf(`
clusters:
  - {name: production, url: %s}
  - {name: staging, url: http://%s}
shipper:
  sources: [driver, worker]
  discovery: {interval: 500ms}
  backoff: {initial: 50ms, max: 1s}
  grace_period: 100ms
  positions: {interval: 200ms}
sink: {file: {path: %s, fsync: never}}
`, head.URL(), down, filepath.Join(dir, "lines.jsonl")))
	p, url := program.Serve(t, program.Raytap(t, "--config.file", config))
	program.Get(url + "/metrics") // the status of collectors is known after a scrape
	p.Until(time.Minute, "the status has both clusters and all tails", func() bool {
		var status struct {
			Clusters []struct {
				State string `json:"state"`
				Tails []struct {
					ID    string `json:"submission_id"`
					Lines int    `json:"lines"`
					Error string `json:"error"`
				} `json:"tails"`
				Nodes []struct {
					Error   string `json:"error"`
					Failing int    `json:"failing"`
				} `json:"node_logs"`
			} `json:"clusters"`
		}
		if json.Unmarshal([]byte(program.Get(url+"/api/v1/status")), &status) != nil || len(status.Clusters) != 2 {
			return false
		}
		complete, problems := 0, 0
		for _, c := range status.Clusters {
			for _, st := range c.Tails {
				if i := slices.Index(jobs, st.ID); i == 0 && st.Error != "" || i > 0 && st.Lines >= 1000*i && st.Error == "" {
					complete++
				}
			}
			for _, n := range c.Nodes {
				problems += n.Failing
				if n.Error != "" && n.Failing == 0 {
					problems++
				}
			}
		}
		return complete == len(jobs) && problems == 2 && status.Clusters[0].State == "up" && status.Clusters[1].State == "down"
	})
	return url, down
}

// workers adds logs of workers on three nodes: one of them cannot be read, and the agent of
// one node is down.
func workers(t *testing.T, head *raytest.Head) {
	t.Helper()
	nodes := []*raytest.Node{head.Nodes()[0]}
	for _, ip := range []string{"127.0.0.2", "127.0.0.3"} {
		n, err := head.AddNode(ip)
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, n)
	}
	for i, n := range nodes[:2] {
		var live []ray.Worker
		for k := range 3 - i {
			id := fmt.Sprintf("%028x%028x", i+1, k+1)
			live = append(live, ray.Worker{ID: id, PID: 100 + k})
			n.WriteFile(fmt.Sprintf("worker-%s-01000000-%d.out", id, 100+k), ":job_id:01000000\n"+strings.Repeat("step\n", 10))
			if k == 0 {
				n.WriteFile(fmt.Sprintf("worker-%s-01000000-%d.err", id, 100+k), ":job_id:01000000\n")
			}
		}
		n.SetWorkers(live...)
	}
	nodes[2].AgentDown()
	name := fmt.Sprintf("worker-%028x%028x-01000000-%d.out", 2, 2, 101)
	for _, endpoint := range []string{raytest.EndpointNodeAgent, raytest.EndpointAgentStat} {
		head.Inject(raytest.Fault{Endpoint: endpoint, Job: name, Status: 500})
	}
}
