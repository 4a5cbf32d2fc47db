package daemon

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"
	"go.uber.org/goleak"

	"raytap/config"
	"raytap/ray/raytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// buffer is a stdout that a test can read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// house is a daemon at work, for a test to look at.
type house struct {
	t    *testing.T
	base string // of its page
	out  *buffer
	log  *test.Hook
	d    *Daemon
	stop context.CancelFunc
	end  chan error

	mu   sync.Mutex
	next config.Config // what a reload gives
	err  error
}

// configure gives a configuration that watches heads, quick enough for a test.
func configure(t *testing.T, heads map[string]*raytest.Head, names ...string) config.Config {
	t.Helper()
	c := config.Default()
	for _, name := range names {
		c.Clusters = append(c.Clusters, config.Cluster{
			Name: name, API: "ray", URL: config.URL(heads[name].URL()), Timeout: config.Duration(2 * time.Second),
			MaxConcurrent: 8, MaxBody: 1 << 20, NodeAgents: config.NodeAgents{Mode: "off"},
		})
	}
	c.Shipper.Protocol = "websocket"
	c.Shipper.Discovery.Interval = config.Duration(100 * time.Millisecond)
	c.Shipper.PollInterval = config.Duration(100 * time.Millisecond)
	c.Shipper.Linger = config.Duration(100 * time.Millisecond)
	c.Web.ListenAddresses = []string{freePort(t)}
	return c
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// open runs a daemon until the test's end, or until close.
func open(t *testing.T, c config.Config, stdout io.Writer) *house {
	t.Helper()
	return openWith(t, c, stdout, func(*Daemon) {})
}

// openWith is open with a change to the daemon before it runs.
func openWith(t *testing.T, c config.Config, stdout io.Writer, change func(*Daemon)) *house {
	t.Helper()
	log, hook := test.NewNullLogger()
	log.SetLevel(logrus.DebugLevel)
	h := &house{t: t, base: "http://" + c.Web.ListenAddresses[0], log: hook, next: c, end: make(chan error, 1)}
	if stdout == nil {
		h.out = &buffer{}
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
			t.Errorf("Run gave %v", err)
		}
	})
	return h
}

// ended waits for the end of Run.
func (h *house) ended() error {
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

func (h *house) get(path string) (int, string) {
	h.t.Helper()
	return h.ask(http.MethodGet, path)
}

func (h *house) ask(method, path string) (int, string) {
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
func (h *house) until(what string, ok func() bool) {
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

// lines is the daemon's log as text.
func (h *house) lines() string {
	var b strings.Builder
	for _, e := range h.log.AllEntries() {
		s, _ := e.String()
		b.WriteString("\n" + strings.TrimSpace(s))
	}
	return b.String()
}

func (h *house) reload(c config.Config, err error) (int, string) {
	h.t.Helper()
	h.mu.Lock()
	h.next, h.err = c, err
	h.mu.Unlock()
	return h.ask(http.MethodPost, "/-/reload")
}

// page is what /metrics shows of the clusters and of raytap, histograms'
// buckets and comments apart.
func (h *house) page() string {
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
		for range i { // each restart gives another session: no two heads share one
			if err := out[name].Restart(raytest.RestartOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return out
}

func TestLinesAndMetricsOfACluster(t *testing.T) {
	hs := heads(t, "prod")
	job := hs["prod"].Submit("job-1", raytest.JobOptions{})
	job.Print("hello\n")
	h := open(t, configure(t, hs, "prod"), nil)
	h.until("the line is shipped", func() bool { return strings.Contains(h.out.String(), `"message":"hello"`) })
	h.until("it is ready", func() bool { code, _ := h.get("/-/ready"); return code == 200 })
	page := h.page()
	for _, want := range []string{
		`raytap_up{ray_cluster="prod"} 1`,
		`raytap_job_status{ray_cluster="prod",status="RUNNING",submission_id="job-1"} 1`,
		`raytap_api_request_duration_seconds_count{code="200",endpoint="/api/version",ray_cluster="prod"}`,
		`raytap_config_last_reload_successful 1`,
		`raytap_clusters 1`,
		`raytap_build_info{`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	job.Print("last words\n")
	h.until("the next line is shipped", func() bool { return strings.Contains(h.out.String(), "last words") })
	h.stop()
	if err := h.ended(); err != nil {
		t.Errorf("a clean stop gives %v", err)
	}
	if code, _ := h.get("/-/healthy"); code != 0 {
		t.Error("the page is still served")
	}
}

func TestReloadTouchesOnlyWhatChanged(t *testing.T) {
	hs := heads(t, "stays", "goes", "comes")
	for name, head := range hs {
		head.Submit("job-"+name, raytest.JobOptions{}).Print("from " + name + "\n")
	}
	c := configure(t, hs, "stays", "goes")
	h := open(t, c, nil)
	h.until("both are shipped", func() bool {
		return strings.Contains(h.out.String(), "from stays") && strings.Contains(h.out.String(), "from goes")
	})
	tails := hs["stays"].Requests(raytest.EndpointTail)

	next := configure(t, hs, "comes", "stays")
	next.Web = c.Web
	if code, text := h.reload(next, nil); code != 200 {
		t.Fatalf("reload: %d %s", code, text)
	}
	h.until("the new cluster is shipped", func() bool { return strings.Contains(h.out.String(), "from comes") })
	h.until("the tail of the one that went is closed", func() bool { return hs["goes"].OpenTails() == 0 })
	if page := h.page(); strings.Contains(page, `ray_cluster="goes"`) || !strings.Contains(page, `raytap_up{ray_cluster="comes"} 1`) {
		t.Errorf("the page after the reload:\n%s", page)
	}
	hs["stays"].Job("job-stays").Print("still here\n")
	h.until("the cluster that stayed goes on", func() bool { return strings.Contains(h.out.String(), "still here") })
	if n := hs["stays"].Requests(raytest.EndpointTail); n != tails {
		t.Errorf("the cluster that stayed was dialled %d times more", n-tails)
	}
	if n := strings.Count(h.out.String(), `"message":"from stays"`); n != 1 {
		t.Errorf("its line was shipped %d times", n)
	}

	asked := hs["goes"].Requests("")
	h.until("other clusters are asked on", func() bool { return hs["stays"].Requests(raytest.EndpointJobs) > 3 })
	if n := hs["goes"].Requests(""); n != asked {
		t.Errorf("the cluster that went is still asked, %d times", n-asked)
	}
}

func TestAClusterThatIsReplacedNeverReadsAsDown(t *testing.T) {
	hs := heads(t, "prod", "other")
	c := configure(t, hs, "prod", "other")
	h := open(t, c, nil)
	h.until("it is ready", func() bool { code, _ := h.get("/-/ready"); return code == 200 })
	var scraped atomic.Int64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			for line := range strings.Lines(h.page()) {
				if strings.HasPrefix(line, "raytap_up{") && strings.HasSuffix(line, " 0\n") {
					t.Errorf("a scrape during a reload shows %s", line)
				}
			}
			scraped.Add(1)
		}
	}()
	defer func() { close(stop); <-done }()
	for i := 0; i < 20 || scraped.Load() < 20; i++ {
		next := configure(t, hs, "prod", "other")
		next.Web = c.Web
		next.Clusters[1].MaxConcurrent = 8 + i%2*8 // replaced each time
		next.Clusters = next.Clusters[:1+i/2%2]    // and gone now and then
		if code, text := h.reload(next, nil); code != 200 {
			t.Fatalf("reload: %d %s", code, text)
		}
	}
}

func TestAWrongConfigurationChangesNothing(t *testing.T) {
	hs := heads(t, "prod")
	c := configure(t, hs, "prod")
	h := open(t, c, nil)
	h.until("it is ready", func() bool { code, _ := h.get("/-/ready"); return code == 200 })

	unbuildable := configure(t, hs, "prod", "prod")
	unbuildable.Clusters[1].Name = "other"
	unbuildable.Clusters[1].TLS.CAFile = "/nonexistent/ca.pem"
	unbuildable.Clusters[1].URL = "https://ray:8265"
	for name, tt := range map[string]struct {
		c    config.Config
		err  error
		want []string
	}{
		"one that does not load": {c, &config.Problems{File: "raytap.yaml", List: []config.Problem{
			{Line: 3, Path: "clusters[0].url", Rule: "wrong"}, {Line: 4, Path: "log.level", Rule: "wrong too"},
		}}, []string{"raytap.yaml:3: clusters[0].url: wrong", "raytap.yaml:4: log.level: wrong too"}},
		"one that cannot be built": {unbuildable, nil, []string{"clusters[1]: read the CA file: open /nonexistent/ca.pem: no such file or directory"}},
	} {
		t.Run(name, func(t *testing.T) {
			code, text := h.reload(tt.c, tt.err)
			if code != 500 {
				t.Errorf("reload: %d", code)
			}
			for _, line := range tt.want {
				if !strings.Contains(text, line) || !strings.Contains(h.lines(), "configuration not reloaded: "+line) {
					t.Errorf("%q is not told:\n%s\n%s", line, text, h.lines())
				}
			}
			page := h.page()
			if !strings.Contains(page, "raytap_config_last_reload_successful 0") || !strings.Contains(page, `raytap_up{ray_cluster="prod"} 1`) || !strings.Contains(page, "raytap_clusters 1") {
				t.Errorf("the page:\n%s", page)
			}
			if code, _ := h.reload(c, nil); code != 200 || !strings.Contains(h.page(), "raytap_config_last_reload_successful 1") {
				t.Errorf("the right one again: %d", code)
			}
		})
	}
}

func TestWhatTakesARestartIsSaid(t *testing.T) {
	hs := heads(t, "prod")
	c := configure(t, hs, "prod")
	h := open(t, c, nil)
	c.Web.ListenAddresses = []string{":1"}
	c.Log.Level = "error"
	if code, text := h.reload(c, nil); code != 200 || !strings.Contains(h.lines(), "web changed, which takes a restart") {
		t.Errorf("%d %s%s", code, text, h.lines())
	}
	if h.d.o.Log.Level != logrus.ErrorLevel {
		t.Error("the log's level does not follow the configuration")
	}
}

func TestNotReadyBeforeEachClusterWasTried(t *testing.T) {
	hs := heads(t, "answers", "hangs")
	hang := hs["hangs"].Inject(raytest.Fault{Do: raytest.Hang})
	c := configure(t, hs, "answers", "hangs")
	c.Clusters[1].Timeout = config.Duration(300 * time.Millisecond)
	h := open(t, c, nil)
	h.until("it says how many are missing", func() bool {
		code, text := h.get("/-/ready")
		return code == 503 && strings.Contains(text, "1 of 2 clusters have not been tried yet")
	})
	if code, _ := h.get("/-/healthy"); code != 200 {
		t.Errorf("healthy: %d", code)
	}
	h.until("the one that hangs was given its timeout", func() bool { code, _ := h.get("/-/ready"); return code == 200 })
	if hang.Hits() == 0 {
		t.Error("nothing hung")
	}
	page := h.page()
	if !strings.Contains(page, `raytap_up{ray_cluster="answers"} 1`) || !strings.Contains(page, `raytap_up{ray_cluster="hangs"} 0`) {
		t.Errorf("the page:\n%s", page)
	}
}

func TestEachHalfCanBeOff(t *testing.T) {
	for name, tt := range map[string]struct {
		collector, shipper bool
	}{"collector alone": {true, false}, "shipper alone": {false, true}} {
		t.Run(name, func(t *testing.T) {
			hs := heads(t, "prod")
			hs["prod"].Submit("job-1", raytest.JobOptions{}).Print("hello\n")
			c := configure(t, hs, "prod")
			c.Collector.Enabled, c.Shipper.Enabled = tt.collector, tt.shipper
			h := open(t, c, nil)
			h.until("it is ready", func() bool { code, _ := h.get("/-/ready"); return code == 200 })
			if tt.shipper {
				h.until("the line is shipped", func() bool { return strings.Contains(h.out.String(), "hello") })
			}
			if got := strings.Contains(h.page(), "raytap_up{"); got != tt.collector {
				t.Errorf("metrics of the cluster: %v", got)
			}
			if !tt.shipper && (h.out.String() != "" || hs["prod"].Requests(raytest.EndpointTail) > 0) {
				t.Errorf("shipped: %s", h.out.String())
			}
		})
	}
}

func TestASilentClusterIsOneLineAlsoWithoutTheShipper(t *testing.T) {
	hs := heads(t, "prod")
	hs["prod"].Down()
	c := configure(t, hs, "prod")
	c.Shipper.Enabled = false
	h := open(t, c, nil)
	h.until("it was tried", func() bool { code, _ := h.get("/-/ready"); return code == 200 })
	for range 3 {
		if page := h.page(); !strings.Contains(page, `raytap_up{ray_cluster="prod"} 0`) {
			t.Errorf("the page:\n%s", page)
		}
	}
	if n := strings.Count(h.lines(), "level=warning"); n != 1 || !strings.Contains(h.lines(), "the cluster does not answer: ") || !strings.Contains(h.lines(), "connection refused") {
		t.Errorf("%d warnings:%s", n, h.lines())
	}
}

func TestAResourceCanBeOff(t *testing.T) {
	hs := heads(t, "prod")
	c := configure(t, hs, "prod")
	c.Collector.Serve.Enabled, c.Collector.Tasks.Enabled = false, false
	h := open(t, c, nil)
	h.until("it is ready", func() bool { code, _ := h.get("/-/ready"); return code == 200 })
	if page := h.page(); strings.Contains(page, "raytap_serve") || strings.Contains(page, "raytap_tasks") || !strings.Contains(page, "raytap_nodes{") {
		t.Errorf("the page:\n%s", page)
	}
	if n := hs["prod"].Requests(raytest.EndpointServe) + hs["prod"].Requests(raytest.EndpointTasks); n > 0 {
		t.Errorf("what is off was asked for %d times", n)
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestABrokenStdoutEndsTheDaemon(t *testing.T) {
	hs := heads(t, "prod")
	hs["prod"].Submit("job-1", raytest.JobOptions{}).Print("hello\n")
	h := open(t, configure(t, hs, "prod"), brokenPipe{})
	if err := h.ended(); err == nil || !strings.Contains(err.Error(), "nobody reads it any more") {
		t.Errorf("got %v", err)
	}
}

func TestStoppingIsBoundedWhereNobodyReads(t *testing.T) {
	hs := heads(t, "prod")
	job := hs["prod"].Submit("job-1", raytest.JobOptions{})
	line := strings.Repeat("x", 999) + "\n"
	job.Print(strings.Repeat(line, 500)) // more than a pipe holds
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	h := open(t, configure(t, hs, "prod"), w)
	waiting := regexp.MustCompile(`(?m)^raytap_shipper_queue_batches [1-9]`)
	h.until("the pipe is full and batches wait", func() bool { return waiting.MatchString(h.page()) })
	h.stop()
	if err := h.ended(); err == nil {
		t.Error("lines are left, and it says nothing")
	}
}

func TestABusyPortIsAnErrorBeforeAnythingStarts(t *testing.T) {
	hs := heads(t, "prod")
	c := configure(t, hs, "prod")
	l, err := net.Listen("tcp", c.Web.ListenAddresses[0])
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	log, _ := test.NewNullLogger()
	_, err = New(c, Options{Stdout: io.Discard, Log: log})
	var problems *config.Problems
	if err == nil || errors.As(err, &problems) || !strings.Contains(err.Error(), "port is in use") {
		t.Errorf("got %v", err)
	}
	if n := hs["prod"].Requests(""); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}
