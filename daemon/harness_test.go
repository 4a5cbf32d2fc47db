package daemon

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"

	"raytap/config"
	"raytap/ray/raytest"
	"raytap/test/program"
)

// harness is a running daemon.
type harness struct {
	t    *testing.T
	base string // of its page
	out  *program.Output
	log  *test.Hook
	d    *Daemon
	stop context.CancelFunc
	end  chan error

	mu   sync.Mutex
	next config.Config // the configuration of the next reload
	err  error
}

// configure returns a configuration for heads, with short intervals.
func configure(t *testing.T, heads map[string]*raytest.Head, names ...string) config.Config {
	t.Helper()
	c := config.Default()
	for _, name := range names {
		c.Clusters = append(c.Clusters, config.Cluster{
			Name: name, API: "ray", URL: config.URL(heads[name].URL()), Timeout: config.Duration(2 * time.Second),
			MaxConcurrent: 8, MaxBody: 1 << 20, NodeAgents: config.NodeAgents{Mode: "off"},
		})
	}
	c.Collector.CacheTTL = config.Duration(100 * time.Millisecond)
	c.Shipper.Protocol = "websocket"
	c.Shipper.Discovery.Interval = config.Duration(100 * time.Millisecond)
	c.Shipper.PollInterval = config.Duration(100 * time.Millisecond)
	c.Shipper.GracePeriod = config.Duration(100 * time.Millisecond)
	c.Web.ListenAddresses = []string{program.FreeAddress(t)}
	return c
}

// open runs a daemon until the test's end, or until close.
func open(t *testing.T, c config.Config, stdout io.Writer) *harness {
	t.Helper()
	return openWith(t, c, stdout, func(*Daemon) {})
}

// openWith is open with a change to the daemon before it runs.
func openWith(t *testing.T, c config.Config, stdout io.Writer, change func(*Daemon)) *harness {
	t.Helper()
	log, hook := test.NewNullLogger()
	log.SetLevel(logrus.DebugLevel)
	h := &harness{t: t, base: "http://" + c.Web.ListenAddresses[0], log: hook, next: c, end: make(chan error, 1)}
	if stdout == nil {
		h.out = &program.Output{}
		stdout = h.out
	}
	d, err := New(c, Options{Stdout: stdout, StopTimeout: 5 * time.Second, Version: "test", Log: log, Load: func() (config.Config, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.next, h.err
	}})
	if err != nil {
		t.Fatal(err)
	}
	h.d = d
	change(d)
	ctx, stop := context.WithCancel(context.Background())
	h.stop = stop
	go func() { h.end <- d.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err, ok := <-h.end; ok && err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
	return h
}

// ended waits for the end of Run.
func (h *harness) ended() error {
	h.t.Helper()
	select {
	case err := <-h.end:
		close(h.end)
		return err
	case <-time.After(20 * time.Second):
		h.t.Fatal("the daemon does not end")
		return nil
	}
}

func (h *harness) get(path string) (int, string) {
	h.t.Helper()
	return h.ask(http.MethodGet, path)
}

func (h *harness) ask(method, path string) (int, string) {
	h.t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	req, err := http.NewRequest(method, h.base+path, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(b)
}

// until waits for a condition.
func (h *harness) until(what string, ok func() bool) {
	h.t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			h.t.Fatalf("not within 15s: %s\nlog:%s\npage:\n%s", what, h.lines(), h.page())
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-h.t.Context().Done():
		}
	}
}

// lines returns the daemon's log.
func (h *harness) lines() string {
	var b strings.Builder
	for _, e := range h.log.AllEntries() {
		s, _ := e.String()
		b.WriteString("\n" + strings.TrimSpace(s))
	}
	return b.String()
}

func (h *harness) reload(c config.Config, err error) (int, string) {
	h.t.Helper()
	h.mu.Lock()
	h.next, h.err = c, err
	h.mu.Unlock()
	return h.ask(http.MethodPost, "/-/reload")
}

// page returns the series of /metrics that start with raytap_, without buckets.
func (h *harness) page() string {
	h.t.Helper()
	_, page := h.get("/metrics")
	var b strings.Builder
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "raytap_") && !strings.Contains(line, "_bucket{") {
			b.WriteString(line)
		}
	}
	return b.String()
}

func heads(t *testing.T, names ...string) map[string]*raytest.Head {
	t.Helper()
	out := map[string]*raytest.Head{}
	for i, name := range names {
		out[name] = raytest.New(t)
		for range i { // each restart starts another session: no two heads share one
			if err := out[name].Restart(raytest.RestartOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return out
}
