//go:build e2e && linux

package pipelines

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"raytap/ray/raytest"
	"raytap/test/program"
)

// key identifies a record, as in docs/records.md.
type key struct {
	Cluster, Session, Log string // Log: the log's name; of a driver log the submission id
	Epoch, Seq            int
	Event                 string
}

// record contains the values that a pipeline must not change.
type record struct {
	Time, Message, Level, LineTime, Source, ID, ActorName, WorkerName string
	Lines                                                             int
}

// pipeline is a raytap that reads a fake head, and a store.
type pipeline struct {
	t      *testing.T
	dir    string // of the sink file, the store's data and the collector's state
	jobs   []*raytest.Job
	store  string // VictoriaLogs' URL
	server *program.Process
	raytap *program.Process
}

func (s *pipeline) file() string { return filepath.Join(s.dir, "raytap.jsonl") }

// newPipeline starts a store and raytap. raytap writes to stdout if out is set, and
// otherwise to a file.
func newPipeline(t *testing.T, out *os.File) *pipeline {
	t.Helper()
	head := raytest.New(t)
	s := &pipeline{t: t, dir: t.TempDir()}
	for i := range 3 {
		job := head.Submit(fmt.Sprintf("job-%d", i), raytest.JobOptions{EmptyLog: true})
		job.Print("   leading and trailing blanks   \n") // the first line cannot be joined to another one
		s.jobs = append(s.jobs, job)
	}
	address := program.FreeAddress(t)
	s.store = "http://" + address
	s.startStore()
	sink := fmt.Sprintf("file: {path: %q, fsync: 50ms, rotate: {max_size: 1MiB, max_files: 50}}", s.file())
	if out != nil {
		sink = "stdout: {}"
	}
	program.File(t, filepath.Join(s.dir, "raytap.yaml"), fmt.Sprintf(`
clusters: [{name: prod, url: %q}]
collector: {enabled: false}
shipper: {discovery: {interval: 100ms, backfill: all}, poll_interval: 100ms, grace_period: 100ms, backoff: {initial: 20ms, max: 200ms}, record: {line_time: true, multiline: {enabled: true, max_wait_time: 200ms}}, positions: {file: %q, interval: 100ms}}
sink: {%s}
`, head.URL(), filepath.Join(s.dir, "positions.db"), sink))
	s.startRaytap(out)
	return s
}

func (s *pipeline) startStore() {
	s.t.Helper()
	s.server = program.Start(s.t, exec.Command(program.Tool(s.t, "bin/victoria-logs"), "-storageDataPath="+filepath.Join(s.dir, "store"), "-retentionPeriod=100y",
		"-httpListenAddr="+strings.TrimPrefix(s.store, "http://"), "-insert.maxLineSizeBytes=2MiB"))
	s.server.Until(20*time.Second, "VictoriaLogs is ready", func() bool { return program.Get(s.store+"/health") != "" })
}

func (s *pipeline) startRaytap(out *os.File) {
	s.t.Helper()
	cmd := program.Raytap(s.t, "--config.file", filepath.Join(s.dir, "raytap.yaml"))
	if out != nil {
		cmd.Stdout = out
	}
	s.raytap, _ = program.Serve(s.t, cmd)
}

// rotate prints until the sink has rotated n times.
func (s *pipeline) rotate(n int) {
	s.t.Helper()
	files := func() int {
		all, err := filepath.Glob(s.file() + ".[0-9]*")
		if err != nil {
			s.t.Fatal(err)
		}
		return len(all)
	}
	want := files() + n
	s.raytap.Until(time.Minute, fmt.Sprintf("%d more rotations", n), func() bool {
		s.print()
		return files() >= want
	})
}

// difficult are lines that a collector may change or misinterpret.
var difficult = []string{
	`quotes "double" and 'single', a backslash \ and a tab	`,
	"naïve 漢字 🚀 and a control \x01 and a colour \x1b[31mred\x1b[0m",
	`{"message": "a line that is JSON", "time": "1999-01-01T00:00:00Z", "level": "ERROR"}`,
	"2026-01-02 03:04:05,678 WARNING train: a level and a time",
	"2026-01-02 03:04:06,789 ERROR train: joined with the next lines",
	"Traceback (most recent call last):",
	`  File "train.py", line 7, in <module>`,
	"    step(\"\\n\")",
	"ValueError: 漢字 \x01",
	"\x1b[36m(R(rank=3) pid=77, ip=10.0.0.1)\x1b[0m a line of a worker\x1b[32m [repeated 9x across cluster]\x1b[0m",
	"100% done %s %d ${HOME} %$!msg% <b>&amp;",
	"", // no record
}

// print makes each job print some lines.
func (s *pipeline) print() {
	for _, job := range s.jobs {
		for _, line := range difficult {
			job.Print(line + "\n")
		}
		for i := range 20 {
			job.Printf("step %d %s\n", i, strings.Repeat("x", 120))
		}
	}
}

// end makes each job print a long line and end.
func (s *pipeline) end() {
	for _, job := range s.jobs {
		job.Print(strings.Repeat("long ", 40_000) + "\n")
		job.End("SUCCEEDED", 0)
	}
}

// files returns the content of the sink files, the current one last.
func (s *pipeline) files() []string {
	s.t.Helper()
	names, err := filepath.Glob(s.file() + ".[0-9]*")
	if err != nil {
		s.t.Fatal(err)
	}
	slices.Sort(names)
	var texts []string
	for _, name := range append(names, s.file()) {
		texts = append(texts, read(s.t, name))
	}
	return texts
}

// ended reports whether a text has the end event of each job.
func (s *pipeline) ended(text string) bool {
	return strings.Count(text, `"event":"end"`) == len(s.jobs)
}

// config writes a configuration of deploy/pipelines with the paths and addresses of the
// pipeline, and returns its path.
func (s *pipeline) config(name string) string {
	s.t.Helper()
	text := read(s.t, filepath.Join(configs, name))
	state := filepath.Join(s.dir, "collector")
	if err := os.MkdirAll(state, 0o700); err != nil {
		s.t.Fatal(err)
	}
	for old, now := range map[string]string{
		"/var/lib/raytap": s.dir, "/var/lib/otelcol": state, "/var/spool/rsyslog": state, "http://127.0.0.1:9428": s.store,
	} {
		text = strings.ReplaceAll(text, old, now)
	}
	if m := regexp.MustCompile(`/var/[^ "]*`).FindString(text); m != "" {
		s.t.Fatalf("%s has the path %s, which this test does not replace", name, m)
	}
	return program.File(s.t, filepath.Join(s.dir, name), text)
}

func (s *pipeline) otelcol() *program.Process {
	return program.Start(s.t, exec.Command(program.Tool(s.t, "bin/otelcol"),
		"--feature-gates=stanza.synchronousLogEmitter", "--config", s.config("otelcol.yaml")))
}

func (s *pipeline) rsyslog() *program.Process {
	return program.Start(s.t, s.rsyslogd(s.config("rsyslog.conf")))
}

func (s *pipeline) rsyslogd(config string) *exec.Cmd {
	pid := filepath.Join(s.t.TempDir(), "pid") // a killed process leaves its own
	return exec.Command(program.Tool(s.t, "bin/rsyslogd"), "-n", "-f", config, "-i", pid)
}

func (s *pipeline) vlagent() *program.Process {
	cmd := exec.Command(filepath.Join(configs, "vlagent.sh"), "-httpListenAddr="+program.FreeAddress(s.t))
	cmd.Env = program.Env(s.t, "VLAGENT="+program.Tool(s.t, "bin/vlagent"), "RAYTAP_FILE="+s.file(), "VICTORIALOGS="+s.store, "STATE="+filepath.Join(s.dir, "collector"))
	return program.Start(s.t, cmd)
}

// Each record is in the store as raytap wrote it, although the sink rotates, the store is
// down for a while, raytap is killed, and the collector is stopped or killed.
func TestPipelines_EachLineReachesStore(t *testing.T) {
	for _, c := range []struct {
		name      string
		collector func(*pipeline) *program.Process
		kill      bool // stop the collector by SIGKILL
	}{
		{"otelcol stopped", (*pipeline).otelcol, false},
		{"otelcol killed", (*pipeline).otelcol, true},
		{"vlagent killed", (*pipeline).vlagent, true},
		{"rsyslog stopped", (*pipeline).rsyslog, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newPipeline(t, nil)
			p := c.collector(s)
			s.print()
			p.Until(30*time.Second, "the first records are in the store", func() bool { return len(s.stored()) >= len(s.jobs) })
			s.rotate(2)
			s.server.Stop(30 * time.Second)
			s.rotate(1)
			s.startStore()
			s.rotate(1)
			if c.kill {
				p.Kill()
			} else {
				p.Stop(30 * time.Second)
			}
			s.rotate(1)
			c.collector(s)
			s.raytap.Kill()
			s.startRaytap(nil)
			s.rotate(1)
			s.end()
			s.raytap.Until(time.Minute, "all end events are written", func() bool { return s.ended(strings.Join(s.files(), "")) })
			s.awaitStored(s.written(s.files()...)) // collectors repeat a batch if they got no response
		})
	}
}

// stdout is sent as JSON lines by curl.
func TestPipelines_StdoutToVictoriaLogs(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	captured := filepath.Join(t.TempDir(), "out.jsonl")
	cmd := exec.Command("sh", "-c", `tee "$0" | "$1"`, captured, filepath.Join(configs, "victorialogs.sh"))
	s := newPipeline(t, w)
	w.Close()
	cmd.Stdin, cmd.Env = r, program.Env(t, "VICTORIALOGS="+s.store)
	p := program.Start(t, cmd)
	r.Close()
	for range 50 {
		s.print()
	}
	p.Until(30*time.Second, "lines are in the store while the jobs run", func() bool { return len(s.stored()) > 100 })
	s.end()
	p.Until(time.Minute, "all end events are written", func() bool { return s.ended(read(t, captured)) })
	s.raytap.Stop(30 * time.Second)
	<-p.Exited // at the end of its stdin
	if duplicated := s.awaitStored(s.written(read(t, captured))); duplicated > 0 {
		t.Errorf("%d duplicated records", duplicated)
	}
}
