package daemon

import (
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"raytap/ray"
	"raytap/shipper/checkpoint"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/sirupsen/logrus/hooks/test"

	"raytap/config"
	"raytap/ray/raytest"
	"raytap/shipper/record"
	"raytap/shipper/sink"
)

// intoFile returns a configuration with a sink file.
func intoFile(t *testing.T, heads map[string]*raytest.Head, names ...string) config.Config {
	t.Helper()
	c := configure(t, heads, names...)
	c.Sink.File = &config.File{Path: config.Path(filepath.Join(t.TempDir(), "raytap.jsonl")), Fsync: config.FsyncAlways}
	return c
}

func TestStorage_PositionsFallback(t *testing.T) {
	blocked := filepath.Join(t.TempDir(), "a-file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	good := t.TempDir()
	locked := t.TempDir()
	lock, err := checkpoint.Open(filepath.Join(locked, "positions.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	for name, tt := range map[string]struct {
		state, file string
		durable     bool
		want        string // in the error, or in the reason
	}{
		"directory can be created":              {filepath.Join(good, "new"), "", true, ""},
		"directory cannot be created":           {blocked, "", false, "not a directory"},
		"none":                                  {"", "", false, "neither XDG_STATE_HOME nor HOME is set"},
		"in use by another raytap":              {locked, "", false, "in use"},
		"a chosen file, though":                 {"", filepath.Join(blocked, "p.json"), false, "not a directory"},
		"a chosen file that can be made is one": {blocked, filepath.Join(good, "deep", "p.json"), true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := config.Default()
			if tt.state != "" {
				local, err := config.FromEnvironment(func(name string) (string, bool) {
					if name != "XDG_STATE_HOME" {
						return "", false
					}
					if name := filepath.Join(tt.state, "raytap"); tt.state == locked { // the lock is at its place
						_ = os.Symlink(locked, name)
					}
					return tt.state, true
				})
				if err != nil {
					t.Fatal(err)
				}
				c = local
			}
			c.Shipper.Positions.File = config.Path(tt.file)
			log, _ := test.NewNullLogger()
			r, err := openStorage(c, io.Discard, log)
			if fails := tt.file != "" && !tt.durable || tt.state == locked; (err != nil) != fails {
				t.Fatalf("got %v", err)
			}
			if err != nil {
				if !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want %q", err, tt.want)
				}
				return
			}
			defer r.close()
			if r.positions.Durable() != tt.durable || (r.notSaved == nil) != tt.durable {
				t.Errorf("durable %v, unsaved %v", r.positions.Durable(), r.notSaved)
			}
			if !tt.durable && !strings.Contains(r.notSaved.Error(), tt.want) {
				t.Errorf("the reason is %v, want %q", r.notSaved, tt.want)
			}
		})
	}
}

func TestNew_ErrorReleasesAll(t *testing.T) {
	hs := heads(t, "prod")
	c := intoFile(t, hs, "prod")
	log, _ := test.NewNullLogger()
	busy := c
	busy.Web.ListenAddresses = []string{"256.0.0.1:1"}
	unbuildable := c
	unbuildable.Clusters = append(unbuildable.Clusters[:0:0], c.Clusters...)
	unbuildable.Clusters[0].TLS.CAFile = "/nonexistent/ca.pem"
	for _, wrong := range []config.Config{busy, unbuildable} {
		if _, err := New(wrong, Options{Stdout: io.Discard, Log: log}); err == nil {
			t.Fatal("the daemon starts")
		}
	}
	if left, _ := os.ReadDir(filepath.Dir(string(c.Sink.File.Path))); len(left) > 0 {
		t.Errorf("failed starts leave %v", left)
	}
	open(t, c, nil)
	second := c
	second.Web.ListenAddresses = []string{"127.0.0.1:0"}
	_, err := New(second, Options{Stdout: io.Discard, Log: log})
	var problems *config.Problems
	if !errors.Is(err, sink.ErrLocked) || errors.As(err, &problems) {
		t.Errorf("a second daemon: %v", err)
	}
}

func TestMetrics_Sink(t *testing.T) {
	hs := heads(t, "prod")
	hs["prod"].Submit("job-1", raytest.JobOptions{}).Print("hello\n")
	h := open(t, intoFile(t, hs, "prod"), nil)
	h.until("the lines are in the file", func() bool { return strings.Contains(h.page(), "\nraytap_sink_records_total 4\n") })
	page := h.page()
	for _, want := range []string{"raytap_sink_file_number 1\n", "raytap_sink_file_size_bytes ", "raytap_sink_fsyncs_total ", "raytap_sink_torn_bytes_total 0\n",
		`raytap_sink_errors_total{kind="full"} 0`, "raytap_shipper_positions_last_saved_timestamp_seconds "} {
		if !strings.Contains(page, "\n"+want) {
			t.Errorf("/metrics has no %s", want)
		}
	}
	if strings.Contains(page, "stalled_since") {
		t.Error("a healthy sink has stalled_since")
	}
	families, err := h.d.metrics.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "raytap_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

func TestReload_ReopensSinkFile(t *testing.T) {
	hs := heads(t, "prod")
	job := hs["prod"].Submit("job-1", raytest.JobOptions{})
	c := intoFile(t, hs, "prod")
	file := string(c.Sink.File.Path)
	h := open(t, c, nil)
	for i, wrong := range []error{nil, errors.New("wrong")} {
		line := []string{"first", "second"}[i]
		job.Print(line + "\n")
		h.until("the line is in the file", func() bool { b, _ := os.ReadFile(file); return strings.Contains(string(b), line) })
		if err := os.Rename(file, file+"."+line); err != nil {
			t.Fatal(err)
		}
		want := http.StatusOK
		if wrong != nil {
			want = http.StatusInternalServerError
		}
		if code, text := h.reload(c, wrong); code != want {
			t.Errorf("reload: %d %s", code, text)
		}
		if _, err := os.Stat(file); err != nil {
			t.Errorf("no new file: %v", err)
		}
	}
}

func TestReload_ShipperNeedsRestart(t *testing.T) {
	hs := heads(t, "prod")
	hs["prod"].Submit("job-1", raytest.JobOptions{}).Print("hello\n")
	c := intoFile(t, hs, "prod")
	c.Shipper.Enabled = false
	h := open(t, c, nil)
	c.Shipper.Enabled = true
	c.Shipper.Positions.Interval++
	if code, text := h.reload(c, nil); code != 200 || !strings.Contains(h.lines(), "key=shipper.enabled") ||
		!strings.Contains(h.lines(), "key=shipper.positions") {
		t.Errorf("%d %s%s", code, text, h.lines())
	}
	if _, err := os.Stat(string(c.Sink.File.Path)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the sink's file: %v", err)
	}
}

func TestValidate_ReservedRecordKeys(t *testing.T) {
	for _, key := range append(record.ReservedKeys, "mine") {
		c := config.Default()
		c.Clusters = []config.Cluster{{}}
		c.Shipper.Labels = map[string]string{key: "x"}
		refused := strings.Contains(c.Validate().Error(), "shipper.labels."+key+": is a reserved key of records")
		if refused != (key != "mine") {
			t.Errorf("label %s: rejected %t", key, refused)
		}
	}
}

func TestShipperOptions_Record(t *testing.T) {
	hs := heads(t, "prod")
	c := configure(t, hs, "prod")
	h := open(t, c, nil)
	for _, on := range []bool{true, false} { // both are on by default
		r := h.d.shipperOptions(specs(c, nil, certificates{})[0], h.d.o.Log).Record
		if r.Relayed != on || r.Structured != on {
			t.Errorf("relayed %t, structured %t, want %t", r.Relayed, r.Structured, on)
		}
		c.Shipper.Record.Relayed, c.Shipper.Record.Structured = false, false
	}
}

func TestDefaultMaxTails(t *testing.T) {
	hs := heads(t, "prod")
	for file, want := range map[string]int{"": maxTailsInMemory, filepath.Join(t.TempDir(), "p.json"): maxTailsSaved} {
		c := configure(t, hs, "prod")
		c.Shipper.Positions.File = config.Path(file)
		h := open(t, c, nil)
		if got := h.d.shipperOptions(specs(c, nil, certificates{})[0], h.d.o.Log).MaxTails; got != want {
			t.Errorf("positions in %q: %d, want %d", file, got, want)
		}
		c.Shipper.WebSocket.MaxTails = 3
		if got := h.d.shipperOptions(specs(c, nil, certificates{})[0], h.d.o.Log).MaxTails; got != 3 {
			t.Errorf("got %d, want the configured 3", got)
		}
	}
}

// A reload that removes worker from shipper.sources stops their logs and keeps their positions:
// one that adds it again goes on where it was.
func TestReload_Sources(t *testing.T) {
	hs := heads(t, "prod")
	head, file := hs["prod"], "worker-"+strings.Repeat("ab", 28)+"-ffffffff-7.out"
	node := head.Nodes()[0]
	job := head.Submit("job-1", raytest.JobOptions{JobID: "02000000"})
	job.Run()
	node.SetWorkers(ray.Worker{ID: strings.Repeat("ab", 28), PID: 7, JobID: "02000000", Type: "WORKER"})
	c := intoFile(t, hs, "prod")
	c.Clusters[0].NodeAgents.Mode = "on"
	c.Shipper.Protocol = "auto"
	h := open(t, c, nil)
	messages := func() map[string]int {
		b, err := os.ReadFile(string(c.Sink.File.Path))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		got := map[string]int{}
		for line := range strings.Lines(string(b)) {
			if m := regexp.MustCompile(`"message":"([^"]*)"`).FindStringSubmatch(line); m != nil {
				got[m[1]]++
			}
		}
		return got
	}
	use := func(sources ...string) {
		t.Helper()
		c.Shipper.Sources = sources
		if code, text := h.reload(c, nil); code != http.StatusOK {
			t.Fatalf("reload with %v: %d %s", sources, code, text)
		}
	}
	node.AppendFile(file, ":job_id:02000000\nbefore\n")
	use("driver", "worker")
	h.until("the first line", func() bool { return messages()["before"] == 1 })
	use("driver")
	node.AppendFile(file, "meanwhile\n")
	job.Print("from the driver\n")
	h.until("the driver's line", func() bool { return messages()["from the driver"] == 1 })
	if n := messages()["meanwhile"]; n != 0 {
		t.Errorf("a line of a worker was shipped without the source: %d", n)
	}
	use("worker")
	h.until("the line that was printed meanwhile", func() bool { return messages()["meanwhile"] == 1 })
	if got := messages(); got["before"] != 1 || got["from the driver"] != 1 {
		t.Errorf("messages %v", got)
	}
}
