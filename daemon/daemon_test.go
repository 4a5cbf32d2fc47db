package daemon

import (
	"errors"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
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

func TestDaemon_LinesAndMetrics(t *testing.T) {
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
			t.Errorf("/metrics has no %s", want)
		}
	}
	job.Print("last words\n")
	h.until("the next line is shipped", func() bool { return strings.Contains(h.out.String(), "last words") })
	h.stop()
	if err := h.ended(); err != nil {
		t.Errorf("Run returns %v", err)
	}
	if code, _ := h.get("/-/healthy"); code != 0 {
		t.Error("the server still answers")
	}
}

func TestReload_ChangedClustersOnly(t *testing.T) {
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
	next.Web, next.EndedClusters.Keep = c.Web, 0
	if code, text := h.reload(next, nil); code != 200 {
		t.Fatalf("reload: %d %s", code, text)
	}
	h.until("the new cluster is shipped", func() bool { return strings.Contains(h.out.String(), "from comes") })
	h.until("the tail of the removed cluster is closed", func() bool { return hs["goes"].OpenTails() == 0 })
	if page := h.page(); strings.Contains(page, `ray_cluster="goes"`) || !strings.Contains(page, `raytap_up{ray_cluster="comes"} 1`) {
		t.Errorf("/metrics after the reload:\n%s", page)
	}
	hs["stays"].Job("job-stays").Print("still here\n")
	h.until("the other cluster continues", func() bool { return strings.Contains(h.out.String(), "still here") })
	if n := hs["stays"].Requests(raytest.EndpointTail); n != tails {
		t.Errorf("the other cluster was dialled %d more times", n-tails)
	}
	if n := strings.Count(h.out.String(), `"message":"from stays"`); n != 1 {
		t.Errorf("its line was shipped %d times", n)
	}

	asked := hs["goes"].Requests("")
	h.until("other clusters get requests", func() bool { return hs["stays"].Requests(raytest.EndpointJobs) > 3 })
	if n := hs["goes"].Requests(""); n != asked {
		t.Errorf("the removed cluster gets %d more requests", n-asked)
	}
}

func TestReload_ReplacedClusterNeverDown(t *testing.T) {
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

func TestReload_InvalidConfiguration(t *testing.T) {
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
		"invalid": {c, &config.Problems{File: "raytap.yaml", List: []config.Problem{
			{Line: 3, Path: "clusters[0].url", Message: "wrong"}, {Line: 4, Path: "log.level", Message: "wrong too"},
		}}, []string{"raytap.yaml:3: clusters[0].url: wrong", "raytap.yaml:4: log.level: wrong too"}},
		"cannot be built": {unbuildable, nil, []string{"clusters[1]: read the CA file: open /nonexistent/ca.pem: no such file or directory"}},
	} {
		t.Run(name, func(t *testing.T) {
			code, text := h.reload(tt.c, tt.err)
			if code != 500 {
				t.Errorf("reload: %d", code)
			}
			for _, line := range tt.want {
				if !strings.Contains(text, line) || !strings.Contains(h.lines(), line+`"`) {
					t.Errorf("%q is not reported:\n%s\n%s", line, text, h.lines())
				}
			}
			page := h.page()
			if !strings.Contains(page, "raytap_config_last_reload_successful 0") || !strings.Contains(page, `raytap_up{ray_cluster="prod"} 1`) || !strings.Contains(page, "raytap_clusters 1") {
				t.Errorf("/metrics:\n%s", page)
			}
			if code, _ := h.reload(c, nil); code != 200 || !strings.Contains(h.page(), "raytap_config_last_reload_successful 1") {
				t.Errorf("reload of a valid configuration: %d", code)
			}
		})
	}
}

func TestReload_NeedsRestart(t *testing.T) {
	hs := heads(t, "prod")
	c := configure(t, hs, "prod")
	h := open(t, c, nil)
	c.Web.ListenAddresses = []string{":1"}
	c.Log.Level = "error"
	if code, text := h.reload(c, nil); code != 200 || !strings.Contains(h.lines(), `msg="A changed setting needs a restart" key=web`) {
		t.Errorf("%d %s%s", code, text, h.lines())
	}
	if h.d.o.Log.Level != logrus.ErrorLevel {
		t.Error("the log level is not that of the configuration")
	}
}

func TestDaemon_Ready(t *testing.T) {
	hs := heads(t, "answers", "hangs")
	hang := hs["hangs"].Inject(raytest.Fault{Action: raytest.Hang})
	c := configure(t, hs, "answers", "hangs")
	c.Clusters[1].Timeout = config.Duration(300 * time.Millisecond)
	h := open(t, c, nil)
	h.until("it reports how many are missing", func() bool {
		code, text := h.get("/-/ready")
		return code == 503 && strings.Contains(text, "1 of 2 clusters have not been checked yet")
	})
	if code, _ := h.get("/-/healthy"); code != 200 {
		t.Errorf("healthy: %d", code)
	}
	h.until("the request that hangs has timed out", func() bool { code, _ := h.get("/-/ready"); return code == 200 })
	if hang.Hits() == 0 {
		t.Error("no request hangs")
	}
	page := h.page()
	if !strings.Contains(page, `raytap_up{ray_cluster="answers"} 1`) || !strings.Contains(page, `raytap_up{ray_cluster="hangs"} 0`) {
		t.Errorf("/metrics:\n%s", page)
	}
}

func TestDaemon_CollectorOrShipperDisabled(t *testing.T) {
	for name, tt := range map[string]struct {
		collector, shipper bool
	}{"collector only": {true, false}, "shipper only": {false, true}} {
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

func TestHealthCheck_UnreachableLoggedOnce(t *testing.T) {
	hs := heads(t, "prod")
	hs["prod"].Down()
	c := configure(t, hs, "prod")
	c.Shipper.Enabled = false
	h := open(t, c, nil)
	h.until("it was checked", func() bool { code, _ := h.get("/-/ready"); return code == 200 })
	for range 3 {
		if page := h.page(); !strings.Contains(page, `raytap_up{ray_cluster="prod"} 0`) {
			t.Errorf("/metrics:\n%s", page)
		}
	}
	if n := strings.Count(h.lines(), "level=warning"); n != 1 || !strings.Contains(h.lines(), "Cluster is unreachable") || !strings.Contains(h.lines(), "connection refused") {
		t.Errorf("%d warnings:%s", n, h.lines())
	}
}

func TestMetrics_DisabledCollector(t *testing.T) {
	hs := heads(t, "prod")
	c := configure(t, hs, "prod")
	c.Collector.Serve.Enabled, c.Collector.Tasks.Enabled = false, false
	h := open(t, c, nil)
	h.until("it is ready", func() bool { code, _ := h.get("/-/ready"); return code == 200 })
	if page := h.page(); strings.Contains(page, "raytap_serve") || strings.Contains(page, "raytap_tasks") || !strings.Contains(page, "raytap_nodes{") {
		t.Errorf("/metrics:\n%s", page)
	}
	if n := hs["prod"].Requests(raytest.EndpointServe) + hs["prod"].Requests(raytest.EndpointTasks); n > 0 {
		t.Errorf("the disabled resource was requested %d times", n)
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestDaemon_BrokenStdout(t *testing.T) {
	hs := heads(t, "prod")
	hs["prod"].Submit("job-1", raytest.JobOptions{}).Print("hello\n")
	h := open(t, configure(t, hs, "prod"), brokenPipe{})
	if err := h.ended(); err == nil || !strings.Contains(err.Error(), "its reader has exited") {
		t.Errorf("got %v", err)
	}
}

func TestDaemon_StopTimeout(t *testing.T) {
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
		t.Error("lines are left, but Run returns no error")
	}
}

func TestNew_BusyPort(t *testing.T) {
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
