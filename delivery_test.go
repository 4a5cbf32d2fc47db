package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"raytap/ray/raytest"
	"raytap/test/program"
)

// delivery is a head and a place for what raytap makes of it, over the lives of
// several processes.
type delivery struct {
	t      *testing.T
	head   *raytest.Head
	file   string // the sink's
	rotate string // settings of it, in YAML
	agents string // on or off
	as     *syscall.Credential
}

func deliver(t *testing.T) *delivery {
	return &delivery{t: t, head: raytest.New(t), file: filepath.Join(t.TempDir(), "out", "raytap.jsonl"), agents: "off"}
}

// prepare gives a raytap that is not started.
func (d *delivery) prepare() *process {
	d.t.Helper()
	p := command(d.t, nil, "--config.file", write(d.t, fmt.Sprintf(`
clusters: [{url: %q, node_agents: {mode: %q}}]
collector: {enabled: false}
shipper: {discovery: {interval: 100ms}, poll_interval: 100ms, grace_period: 100ms, backoff: {initial: 20ms, max: 200ms}, positions: {interval: 100ms}}
sink: {file: {path: %q, fsync: 50ms, rotate: {%s}}}
`, d.head.URL(), d.agents, d.file, d.rotate)))
	if d.as != nil {
		p.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: d.as}
		openTo(d.t, filepath.Dir(p.cmd.Path), filepath.Dir(p.cmd.Args[2]), p.cmd.Dir)
		if err := os.Chmod(p.cmd.Args[2], 0o644); err != nil {
			d.t.Fatal(err)
		}
	}
	return p
}

// openTo lets other users into folders, up to the root.
func openTo(t *testing.T, dirs ...string) {
	t.Helper()
	for _, dir := range dirs {
		for ; dir != "/"; dir = filepath.Dir(dir) {
			if info, err := os.Stat(dir); err != nil {
				t.Fatal(err)
			} else if mode := info.Mode().Perm(); mode&0o001 == 0 {
				if err := os.Chmod(dir, mode|0o011); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

func (d *delivery) start() *process {
	d.t.Helper()
	return d.prepare().serving()
}

// refused starts a raytap that has to exit with 1 and one line.
func (d *delivery) refused(want string) {
	d.t.Helper()
	p := d.prepare()
	p.cmd.Args = append(p.cmd.Args, "--web.listen-address", program.FreeAddress(d.t))
	p.start()
	if code, text := p.code(), p.stderr.String(); code != 1 || strings.Count(text, "\n") != 1 || !strings.Contains(text, want) {
		d.t.Errorf("exit code %d, want 1 and one line with %q; stderr:\n%s", code, want, text)
	}
}

// shipped is what these tests read of a record.
type shipped struct {
	Job        string `json:"submission_id"`
	Epoch, Seq int
	Message    string
	Event      string
	Complete   bool
}

// records reads whole records.
func records(t *testing.T, text string) (all []shipped) {
	t.Helper()
	text = text[:strings.LastIndexByte(text, '\n')+1] // a process may be at work
	for line := range strings.Lines(text) {
		var r shipped
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("a record that is none: %v: %.200q", err, line)
		}
		all = append(all, r)
	}
	return all
}

// files lists what is there of the sink's file, the oldest first.
func (d *delivery) files() []string {
	d.t.Helper()
	names, err := filepath.Glob(d.file + ".0*")
	if err != nil {
		d.t.Fatal(err)
	}
	return append(names, d.file)
}

func (d *delivery) records(files ...string) []shipped {
	d.t.Helper()
	var text strings.Builder
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			d.t.Fatal(err)
		}
		text.Write(b)
	}
	return records(d.t, text.String())
}

func (d *delivery) size() (n int64) {
	for _, name := range d.files() {
		if info, err := os.Stat(name); err == nil {
			n += info.Size()
		}
	}
	return n
}

// ended waits for the job's end event in the current file.
func (d *delivery) ended(p *process) {
	d.t.Helper()
	p.until("the job's end is in the file", func() bool {
		all := d.records(d.file)
		return len(all) > 0 && all[len(all)-1].Event == "end"
	})
}

// exact checks that records are a log's lines from number from on, each once
// and in order, between one start and one complete end event.
func exact(t *testing.T, all []shipped, log []byte, from int) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(string(log), "\n"), "\n")
	next, starts, ends := from, 0, 0
	for i, r := range all {
		switch {
		case r.Epoch != 0 || r.Seq != next:
			t.Fatalf("record %d has epoch %d, seq %d, where 0, %d was due: %+v", i, r.Epoch, r.Seq, next, r)
		case r.Event == "start":
			starts++
		case r.Event == "end" && r.Complete:
			ends++
		case r.Event != "":
			t.Errorf("event %+v", r)
		case next >= len(lines) || r.Message != lines[next]:
			t.Fatalf("line %d is %q", next, r.Message)
		default:
			next++
		}
	}
	if next != len(lines) || ends != 1 || (from == 0 && starts != 1) {
		t.Errorf("%d of %d lines, %d start and %d end events", next, len(lines), starts, ends)
	}
}

// printing lets a job print numbered lines until the function that it gives is
// called, which returns when the last one is out.
func printing(job *raytest.Job, width int) (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		pause := time.NewTicker(2 * time.Millisecond)
		defer pause.Stop()
		for i := 0; ; i++ {
			for k := range 10 {
				job.Printf("%07d %s\n", 10*i+k, strings.Repeat("x", width))
			}
			select {
			case <-quit:
				return
			case <-pause.C:
			}
		}
	}()
	return func() { close(quit); <-done }
}

func TestKillsAndRestartsLoseAndDoubleNothing(t *testing.T) {
	for _, agents := range []string{"on", "off"} {
		t.Run("agents "+agents, func(t *testing.T) {
			t.Parallel()
			d := deliver(t)
			d.agents, d.rotate = agents, "max_size: 1MiB, max_files: 0"
			job := d.head.Submit("job-1", raytest.JobOptions{})
			stop := printing(job, 100)
			p := d.start()
			for round := range 8 {
				size := d.size() + 1 + rand.Int64N(300<<10)
				p.until("more lines are in the file", func() bool { return d.size() >= size })
				if round%4 == 3 {
					p.Signal(syscall.SIGTERM)
					if code := p.code(); code != 0 {
						t.Errorf("exit code %d; stderr:\n%s", code, p.stderr.String())
					}
				} else {
					p.Signal(syscall.SIGKILL)
					<-p.Exited
				}
				p = d.start()
			}
			stop()
			log := job.Log()
			job.End("SUCCEEDED", 0)
			d.ended(p)
			exact(t, d.records(d.files()...), log, 0)
			for _, want := range []string{"raytap_sink_recovered_records_total ", "raytap_sink_file_number ", "raytap_sink_fsyncs_total ", `raytap_sink_errors_total{kind="full"} 0`} {
				if !strings.Contains(p.page("/metrics"), "\n"+want) {
					t.Errorf("the page lacks %s", want)
				}
			}
			p.Signal(syscall.SIGTERM)
			if code := p.code(); code != 0 {
				t.Errorf("exit code %d; stderr:\n%s", code, p.stderr.String())
			}
			before := d.size()
			p = d.start() // and once more on a job that is over
			p.until("the cluster was seen", func() bool {
				return strings.Contains(p.page("/metrics"), "\nraytap_shipper_discovery_last_success_timestamp_seconds{")
			})
			if n := d.size(); n != before {
				t.Errorf("%d bytes more after another restart", n-before)
			}
		})
	}
}

func TestRotationUnderLoadKeepsTheNewestFiles(t *testing.T) {
	d := deliver(t)
	d.rotate = "max_size: 1MiB, max_files: 2, gzip: true"
	job := d.head.Submit("job-1", raytest.JobOptions{})
	p := d.start()
	stop := printing(job, 1000)
	p.until("old files were removed", func() bool { return strings.Contains(p.page("/metrics"), "\nraytap_sink_removed_files_total 3") })
	stop()
	log := job.Log()
	job.End("SUCCEEDED", 0)
	d.ended(p)
	files := d.files()
	if len(files) != 3 {
		t.Errorf("there are %q", files)
	}
	for _, name := range files {
		if info, err := os.Stat(name); err != nil || info.Size() > 1<<20 {
			t.Errorf("%s: %v, %v", name, info.Size(), err)
		}
	}
	all := d.records(files...)
	exact(t, all, log, all[0].Seq)
}

func TestSIGHUPFollowsARename(t *testing.T) {
	d := deliver(t)
	job := d.head.Submit("job-1", raytest.JobOptions{})
	stop := printing(job, 100)
	p := d.start()
	renamed := []string{d.file + ".old-1", d.file + ".old-2"}
	for _, name := range renamed {
		p.until("lines are in the file", func() bool { return len(d.records(d.file)) > 0 })
		if err := os.Rename(d.file, name); err != nil {
			t.Fatal(err)
		}
		p.Signal(syscall.SIGHUP)
		p.until("there is a new one", func() bool { _, err := os.Stat(d.file); return err == nil })
	}
	p.Kill()
	p = d.start()
	stop()
	log := job.Log()
	job.End("SUCCEEDED", 0)
	d.ended(p)
	exact(t, d.records(append(renamed, d.file)...), log, 0)
}

func TestWhatRaytapCannotBeSureOfIsRefused(t *testing.T) {
	d := deliver(t)
	job := d.head.Submit("job-1", raytest.JobOptions{})
	job.Print("hello\n")
	p := d.start()
	p.until("the line is in the file", func() bool { return len(d.records(d.file)) == 4 })
	positions := d.file + ".positions.db"
	d.refused("positions.db is in use by another raytap (process ")
	p.Signal(syscall.SIGTERM)
	if code := p.code(); code != 0 {
		t.Fatalf("exit code %d; stderr:\n%s", code, p.stderr.String())
	}
	good, err := os.ReadFile(positions)
	if err != nil {
		t.Fatal(err)
	}
	put := func(b []byte) {
		t.Helper()
		if err := os.WriteFile(positions, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(good[:len(good)/4])
	d.refused("it is corrupt (it was cut: it has ")
	put([]byte(`{"version": 1}`))
	d.refused("it holds no positions of raytap (it is JSON), but something else: set shipper.positions.file to another file, or move it away")
	if err := os.Remove(positions); err != nil {
		t.Fatal(err)
	}
	for range 2 { // trying it leaves nothing that lets the next try through
		d.refused("holds records, and there are no positions that tell which")
	}
	put(good)
	if err := os.WriteFile(d.file, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	log := job.Log()
	job.End("SUCCEEDED", 0)
	p = d.start() // shorter than it was: the positions stand, and that is said
	d.ended(p)
	if text := p.stderr.String(); strings.Count(text, "The sink file is not as it was left: file is shorter than the saved position") != 1 {
		t.Errorf("stderr:\n%s", text)
	}
	b, err := os.ReadFile(d.file)
	if err != nil {
		t.Fatal(err)
	}
	exact(t, records(t, strings.TrimPrefix(string(b), "{}\n")), log, strings.Count(string(log), "\n"))
}

// A reader of stdout that is gone ends raytap. What it had read is not shipped
// again, and the keys go on.
func TestKeysGoOnAfterTheReaderOfStdoutDied(t *testing.T) {
	head := raytest.New(t)
	job := head.Submit("job-1", raytest.JobOptions{})
	job.Print("one\ntwo\n")
	env := []string{"RAY_API_SERVER_ADDRESS=" + head.URL(), "XDG_STATE_HOME=" + t.TempDir()}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var read program.Output
	reading := make(chan struct{})
	go func() {
		defer close(reading)
		b := make([]byte, 4096)
		for strings.Count(read.String(), "\n") < 5 { // the start event and four lines
			n, err := r.Read(b)
			if err != nil {
				return
			}
			_, _ = read.Write(b[:n])
		}
		r.Close()
	}()
	p := command(t, env)
	p.cmd.Stdout = w
	p.serving()
	w.Close()
	<-reading
	job.Print("three\n")
	if code := p.code(); code != 1 || !strings.Contains(p.stderr.String(), "its reader has exited") {
		t.Fatalf("exit code %d; stderr:\n%s", code, p.stderr.String())
	}
	log := job.Log()
	job.End("SUCCEEDED", 0)
	p = command(t, env).serving()
	p.until("the end is shipped", func() bool { return strings.Contains(p.stdout.String(), `"event":"end"`) })
	exact(t, slices.Concat(records(t, read.String()), records(t, p.stdout.String())), log, 0)
}
