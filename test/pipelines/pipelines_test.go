//go:build e2e && linux

package pipelines

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
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
type record struct{ Time, Message, Level string }

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
		s.jobs = append(s.jobs, head.Submit(fmt.Sprintf("job-%d", i), raytest.JobOptions{}))
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
shipper: {discovery: {interval: 100ms}, poll_interval: 100ms, linger: 100ms, backoff: {initial: 20ms, max: 200ms}, positions: {file: %q, interval: 100ms}}
sink: {%s}
`, head.URL(), filepath.Join(s.dir, "positions.json"), sink))
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
	"   leading and trailing blanks   ",
	"2026-01-02 03:04:05,678 WARNING train: a level",
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

// written reads the records that raytap wrote, and checks that they are what the
// jobs printed.
func (s *scene) written(texts ...string) map[key]record {
	s.t.Helper()
	all := map[key]record{}
	for _, text := range texts {
		for line := range strings.Lines(text) {
			var r struct {
				Time, Session, Source, Event, Message, Level string
				Cluster                                      string `json:"ray_cluster"`
				ID                                           string `json:"submission_id"`
				Epoch, Seq                                   int
			}
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				s.t.Fatalf("%v: %.200q", err, line)
			}
			all[key{r.Cluster, r.Session, r.ID, r.Source, r.Epoch, r.Seq, r.Event}] = record{r.Time, r.Message, r.Level}
		}
	}
	for _, job := range s.jobs {
		n := 0
		for line := range strings.Lines(string(job.Log())) {
			if line = strings.Trim(line, "\r\n"); line == "" {
				continue
			}
			k := key{"prod", "", job.ID, "driver", 0, n, ""}
			for other := range all {
				k.Session = other.Session
				break
			}
			if got, ok := all[k]; !ok || got.Message != line {
				s.t.Fatalf("raytap has not written line %d of %s: %.200q, but %.200q", n, job.ID, line, got.Message)
			}
			n++
		}
	}
	return all
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

// stored asks the store for all that it has.
func (s *scene) stored() map[key][]record {
	s.t.Helper()
	all := map[key][]record{}
	text := program.Get(s.store + "/select/logsql/query?" + url.Values{"query": {"* | fields _time, _msg, ray_cluster, session, submission_id, source, epoch, seq, event, level"}}.Encode())
	for line := range strings.Lines(text) {
		var r map[string]string
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			s.t.Fatalf("%v: %.200q", err, line)
		}
		epoch, err1 := strconv.Atoi(r["epoch"])
		seq, err2 := strconv.Atoi(r["seq"])
		if err1 != nil || err2 != nil {
			s.t.Fatalf("the store has what is no record of raytap's: %.300s", line)
		}
		k := key{r["ray_cluster"], r["session"], r["submission_id"], r["source"], epoch, seq, r["event"]}
		all[k] = append(all[k], record{r["_time"], r["_msg"], r["level"]})
	}
	return all
}

// judge waits until the store has every record, and compares. It gives how many
// came more than once.
func (s *scene) judge(want map[key]record) (doubled int) {
	s.t.Helper()
	got := s.stored()
	for limit := time.Now().Add(time.Minute); len(got) < len(want) && time.Now().Before(limit); got = s.stored() {
		select {
		case <-s.t.Context().Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
	lost, wrong := 0, 0
	for k, w := range want {
		if len(got[k]) == 0 {
			if lost++; lost <= 5 {
				s.t.Errorf("%+v is not in the store: %.100q", k, w.Message)
			}
		}
		for _, g := range got[k] {
			if !same(g, w) {
				if wrong++; wrong <= 5 {
					s.t.Errorf("%+v\nis in the store as %.200q\nand in the file as %.200q", k, g, w)
				}
			}
		}
		if len(got[k]) > 1 {
			doubled++
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			s.t.Errorf("%+v is in the store, and was never written", k)
		}
	}
	s.t.Logf("%d records, %d not in the store, %d of them changed, %d more than once", len(want), lost, wrong, doubled)
	return doubled
}

// same compares a stored record with the one in the file: the same moment,
// however it is written, to the nanosecond.
func same(g, w record) bool {
	a, err1 := time.Parse(time.RFC3339Nano, g.Time)
	b, err2 := time.Parse(time.RFC3339Nano, w.Time)
	return err1 == nil && err2 == nil && a.Equal(b) && g.Message == w.Message && g.Level == w.Level
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
	pid := filepath.Join(s.t.TempDir(), "pid") // the one that a kill leaves is another's
	return program.Start(s.t, exec.Command(program.Tool(s.t, "bin/rsyslogd"), "-n", "-f", s.config("rsyslog.conf"), "-i", pid))
}

func (s *scene) vlagent() *program.Process {
	cmd := exec.Command(filepath.Join(shipped, "vlagent.sh"), "-httpListenAddr="+program.FreeAddress(s.t))
	cmd.Env = program.Env(s.t, "VLAGENT="+program.Tool(s.t, "bin/vlagent"), "RAYTAP_FILE="+s.file(), "VICTORIALOGS="+s.store, "STATE="+filepath.Join(s.dir, "consumer"))
	return program.Start(s.t, cmd)
}

// Through rotations, a store that is away, a raytap that is killed, and a consumer
// that is stopped or killed, each record is in the store as raytap wrote it.
func TestEachLineReachesTheStore(t *testing.T) {
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
func TestEachLineOfStdoutReachesVictoriaLogs(t *testing.T) {
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
