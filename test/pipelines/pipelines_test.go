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

// key is what tells records apart: the key that docs name.
type key struct {
	Cluster, Session, ID, Source string
	Epoch, Seq                   int
	Event                        string
}

// record is what has to arrive as it was.
type record struct {
	Time, Message, Level, LineTime string
	Lines                          int
}

// scene is raytap at work on a fake head, with a store.
type scene struct {
	t      *testing.T
	dir    string // of raytap's file, the store's data and the consumer's state
	jobs   []*raytest.Job
	store  string // VictoriaLogs' URL
	server *program.Process
	raytap *program.Process
}

func (s *scene) file() string { return filepath.Join(s.dir, "raytap.jsonl") }

// newScene starts a store and a raytap that writes to its file, or, with out, to
// that.
func newScene(t *testing.T, out *os.File) *scene {
	t.Helper()
	head := raytest.New(t)
	s := &scene{t: t, dir: t.TempDir()}
	for i := range 3 {
		job := head.Submit(fmt.Sprintf("job-%d", i), raytest.JobOptions{EmptyLog: true})
		job.Print("   leading and trailing blanks   \n") // there is no line that it could be joined to
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

func (s *scene) startStore() {
	s.t.Helper()
	s.server = program.Start(s.t, exec.Command(program.Tool(s.t, "bin/victoria-logs"), "-storageDataPath="+filepath.Join(s.dir, "store"), "-retentionPeriod=100y",
		"-httpListenAddr="+strings.TrimPrefix(s.store, "http://"), "-insert.maxLineSizeBytes=2MiB"))
	s.server.Until(20*time.Second, "VictoriaLogs is up", func() bool { return program.Get(s.store+"/health") != "" })
}

func (s *scene) startRaytap(out *os.File) {
	s.t.Helper()
	cmd := program.Raytap(s.t, "--config.file", filepath.Join(s.dir, "raytap.yaml"))
	if out != nil {
		cmd.Stdout = out
	}
	s.raytap, _ = program.Serve(s.t, cmd)
}

// rotate prints until raytap has begun so many more files.
func (s *scene) rotate(n int) {
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

// odd are lines that a careless consumer changes, or takes for something else.
var odd = []string{
	`quotes "double" and 'single', a backslash \ and a tab	`,
	"naïve 漢字 🚀 and a control \x01 and a colour \x1b[31mred\x1b[0m",
	`{"message": "a line that is JSON", "time": "1999-01-01T00:00:00Z", "level": "ERROR"}`,
	"2026-01-02 03:04:05,678 WARNING train: a level, and a time of its own",
	"2026-01-02 03:04:06,789 ERROR train: joined with what follows",
	"Traceback (most recent call last):",
	`  File "train.py", line 7, in <module>`,
	"    step(\"\\n\")",
	"ValueError: 漢字 \x01",
	"100% done %s %d ${HOME} %$!msg% <b>&amp;",
	"", // no record of its own
}

// print has each job print some lines.
func (s *scene) print() {
	for _, job := range s.jobs {
		for _, line := range odd {
			job.Print(line + "\n")
		}
		for i := range 20 {
			job.Printf("step %d %s\n", i, strings.Repeat("x", 120))
		}
	}
}

// end has the jobs end, with a long line before, and waits for all of it in
// raytap's file.
func (s *scene) end() {
	for _, job := range s.jobs {
		job.Print(strings.Repeat("long ", 40_000) + "\n")
		job.End("SUCCEEDED", 0)
	}
}

// files gives the text of raytap's files, the current one last.
func (s *scene) files() []string {
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

// ended tells whether raytap has written the end of each job.
func (s *scene) ended(text string) bool {
	return strings.Count(text, `"event":"end"`) == len(s.jobs)
}

// config is a shipped configuration with its places put into the scene.
func (s *scene) config(name string) string {
	s.t.Helper()
	text := read(s.t, filepath.Join(shipped, name))
	state := filepath.Join(s.dir, "consumer")
	if err := os.MkdirAll(state, 0o700); err != nil {
		s.t.Fatal(err)
	}
	for old, now := range map[string]string{
		"/var/lib/raytap": s.dir, "/var/lib/otelcol": state, "/var/spool/rsyslog": state, "http://127.0.0.1:9428": s.store,
	} {
		text = strings.ReplaceAll(text, old, now)
	}
	if m := regexp.MustCompile(`/var/[^ "]*`).FindString(text); m != "" {
		s.t.Fatalf("%s names %s, which this test does not know", name, m)
	}
	return program.File(s.t, filepath.Join(s.dir, name), text)
}

func (s *scene) otelcol() *program.Process {
	return program.Start(s.t, exec.Command(program.Tool(s.t, "bin/otelcol"),
		"--feature-gates=stanza.synchronousLogEmitter", "--config", s.config("otelcol.yaml")))
}

func (s *scene) rsyslog() *program.Process {
	return program.Start(s.t, s.rsyslogd(s.config("rsyslog.conf")))
}

func (s *scene) rsyslogd(config string) *exec.Cmd {
	pid := filepath.Join(s.t.TempDir(), "pid") // the one that a kill leaves is another's
	return exec.Command(program.Tool(s.t, "bin/rsyslogd"), "-n", "-f", config, "-i", pid)
}

func (s *scene) vlagent() *program.Process {
	cmd := exec.Command(filepath.Join(shipped, "vlagent.sh"), "-httpListenAddr="+program.FreeAddress(s.t))
	cmd.Env = program.Env(s.t, "VLAGENT="+program.Tool(s.t, "bin/vlagent"), "RAYTAP_FILE="+s.file(), "VICTORIALOGS="+s.store, "STATE="+filepath.Join(s.dir, "consumer"))
	return program.Start(s.t, cmd)
}

// Through rotations, a store that is away, a raytap that is killed, and a consumer
// that is stopped or killed, each record is in the store as raytap wrote it.
func TestPipelines_EachLineReachesStore(t *testing.T) {
	for _, c := range []struct {
		name     string
		consumer func(*scene) *program.Process
		kill     bool // the consumer with SIGKILL
	}{
		{"otelcol stopped", (*scene).otelcol, false},
		{"otelcol killed", (*scene).otelcol, true},
		{"vlagent killed", (*scene).vlagent, true},
		{"rsyslog stopped", (*scene).rsyslog, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, nil)
			p := c.consumer(s)
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
			c.consumer(s)
			s.raytap.Kill()
			s.startRaytap(nil)
			s.rotate(1)
			s.end()
			s.raytap.Until(time.Minute, "the ends are written", func() bool { return s.ended(strings.Join(s.files(), "")) })
			s.judge(s.written(s.files()...)) // each of them sends a batch again that it does not know the fate of
		})
	}
}

// Standard output as JSON lines, by curl.
func TestPipelines_StdoutToVictoriaLogs(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	captured := filepath.Join(t.TempDir(), "out.jsonl")
	cmd := exec.Command("sh", "-c", `tee "$0" | "$1"`, captured, filepath.Join(shipped, "victorialogs.sh"))
	s := newScene(t, w)
	w.Close()
	cmd.Stdin, cmd.Env = r, program.Env(t, "VICTORIALOGS="+s.store)
	p := program.Start(t, cmd)
	r.Close()
	for range 50 {
		s.print()
	}
	p.Until(30*time.Second, "lines are in the store while the jobs run", func() bool { return len(s.stored()) > 100 })
	s.end()
	p.Until(time.Minute, "the ends are written", func() bool { return s.ended(read(t, captured)) })
	s.raytap.Stop(30 * time.Second)
	<-p.Exited // its stdin has ended
	if doubled := s.judge(s.written(read(t, captured))); doubled > 0 {
		t.Errorf("%d records came more than once", doubled)
	}
}
