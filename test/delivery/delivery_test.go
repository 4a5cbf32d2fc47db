package delivery

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

// delivery is a fake head and a sink file, which several raytap processes use one after
// another.
type delivery struct {
	t      *testing.T
	head   *raytest.Head
	file   string // the sink file
	rotate string // its rotation settings, in YAML
	agents string // mode of node_agents: on or off
	as     *syscall.Credential
}

func deliver(t *testing.T) *delivery {
	return &delivery{t: t, head: raytest.New(t), file: filepath.Join(t.TempDir(), "out", "raytap.jsonl"), agents: "off"}
}

// prepare returns a raytap that is not started.
func (d *delivery) prepare() *program.Command {
	d.t.Helper()
	p := program.NewCommand(d.t, nil, "--config.file", program.TempFile(d.t, fmt.Sprintf(`
clusters: [{url: %q, node_agents: {mode: %q}}]
collector: {enabled: false}
shipper: {discovery: {interval: 100ms}, poll_interval: 100ms, grace_period: 100ms, backoff: {initial: 20ms, max: 200ms}, positions: {interval: 100ms}}
sink: {file: {path: %q, fsync: 50ms, rotate: {%s}}}
`, d.head.URL(), d.agents, d.file, d.rotate)))
	if d.as != nil {
		p.Cmd.SysProcAttr = &syscall.SysProcAttr{Credential: d.as}
		openTo(d.t, filepath.Dir(p.Cmd.Path), filepath.Dir(p.Cmd.Args[2]), p.Cmd.Dir)
		if err := os.Chmod(p.Cmd.Args[2], 0o644); err != nil {
			d.t.Fatal(err)
		}
	}
	return p
}

// openTo lets other users enter directories and their parents.
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

func (d *delivery) start() *program.Command {
	d.t.Helper()
	return d.prepare().Serve()
}

// refused starts a raytap that must exit with 1 and one line of output.
func (d *delivery) refused(want string) {
	d.t.Helper()
	p := d.prepare()
	p.Cmd.Args = append(p.Cmd.Args, "--web.listen-address", program.FreeAddress(d.t))
	p.Start()
	if code, text := p.Code(), p.Stderr.String(); code != 1 || strings.Count(text, "\n") != 1 || !strings.Contains(text, want) {
		d.t.Errorf("exit code %d, want 1 and one line with %q; stderr:\n%s", code, want, text)
	}
}

// shipped has the fields of a record that these tests check.
type shipped struct {
	Job        string `json:"submission_id"`
	Epoch, Seq int
	Message    string
	Event      string
	Complete   bool
}

// records returns the complete records in a text.
func records(t *testing.T, text string) (all []shipped) {
	t.Helper()
	text = text[:strings.LastIndexByte(text, '\n')+1] // a process may be writing
	for line := range strings.Lines(text) {
		var r shipped
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("invalid record: %v: %.200q", err, line)
		}
		all = append(all, r)
	}
	return all
}

// files returns the sink's files, the oldest first.
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

// ended waits for the end event of the job in the current file.
func (d *delivery) ended(p *program.Command) {
	d.t.Helper()
	p.Until("the job's end is in the file", func() bool {
		all := d.records(d.file)
		return len(all) > 0 && all[len(all)-1].Event == "end"
	})
}

// exact checks that records are a log's lines, starting with number from, each once
// and in order, between one start event and one complete end event.
func exact(t *testing.T, all []shipped, log []byte, from int) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(string(log), "\n"), "\n")
	next, starts, ends := from, 0, 0
	for i, r := range all {
		switch {
		case r.Epoch != 0 || r.Seq != next:
			t.Fatalf("record %d has epoch %d, seq %d, want 0, %d: %+v", i, r.Epoch, r.Seq, next, r)
		case r.Event == "start":
			starts++
		case r.Event == "end" && r.Complete:
			ends++
		case r.Event != "":
			t.Errorf("unexpected event %+v", r)
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

// printing lets a job print numbered lines until the returned function is called, which
// returns after the last line.
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

func TestDelivery_KillsAndRestarts(t *testing.T) {
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
				p.Until("more lines are in the file", func() bool { return d.size() >= size })
				if round%4 == 3 {
					p.Signal(syscall.SIGTERM)
					if code := p.Code(); code != 0 {
						t.Errorf("exit code %d; stderr:\n%s", code, p.Stderr.String())
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
				if !strings.Contains(p.Get("/metrics"), "\n"+want) {
					t.Errorf("/metrics lacks %s", want)
				}
			}
			p.Signal(syscall.SIGTERM)
			if code := p.Code(); code != 0 {
				t.Errorf("exit code %d; stderr:\n%s", code, p.Stderr.String())
			}
			before := d.size()
			p = d.start() // once more, after the end of the job
			p.Until("the cluster was seen", func() bool {
				return strings.Contains(p.Get("/metrics"), "\nraytap_shipper_discovery_last_success_timestamp_seconds{")
			})
			if n := d.size(); n != before {
				t.Errorf("%d bytes more after another restart", n-before)
			}
		})
	}
}

func TestDelivery_RotationUnderLoad(t *testing.T) {
	d := deliver(t)
	d.rotate = "max_size: 1MiB, max_files: 2, gzip: true"
	job := d.head.Submit("job-1", raytest.JobOptions{})
	p := d.start()
	stop := printing(job, 1000)
	p.Until("old files were removed", func() bool { return strings.Contains(p.Get("/metrics"), "\nraytap_sink_removed_files_total 3") })
	stop()
	log := job.Log()
	job.End("SUCCEEDED", 0)
	d.ended(p)
	files := d.files()
	if len(files) != 3 {
		t.Errorf("files %q", files)
	}
	for _, name := range files {
		if info, err := os.Stat(name); err != nil || info.Size() > 1<<20 {
			t.Errorf("%s: %v, %v", name, info.Size(), err)
		}
	}
	all := d.records(files...)
	exact(t, all, log, all[0].Seq)
}

func TestDelivery_SIGHUPAfterRename(t *testing.T) {
	d := deliver(t)
	job := d.head.Submit("job-1", raytest.JobOptions{})
	stop := printing(job, 100)
	p := d.start()
	renamed := []string{d.file + ".old-1", d.file + ".old-2"}
	for _, name := range renamed {
		p.Until("lines are in the file", func() bool { return len(d.records(d.file)) > 0 })
		if err := os.Rename(d.file, name); err != nil {
			t.Fatal(err)
		}
		p.Signal(syscall.SIGHUP)
		p.Until("there is a new file", func() bool { _, err := os.Stat(d.file); return err == nil })
	}
	p.Kill()
	p = d.start()
	stop()
	log := job.Log()
	job.End("SUCCEEDED", 0)
	d.ended(p)
	exact(t, d.records(append(renamed, d.file)...), log, 0)
}

func TestDelivery_InconsistentFilesAreRefused(t *testing.T) {
	d := deliver(t)
	job := d.head.Submit("job-1", raytest.JobOptions{})
	job.Print("hello\n")
	p := d.start()
	p.Until("the line is in the file", func() bool { return len(d.records(d.file)) == 4 })
	positions := d.file + ".positions.db"
	d.refused("positions.db is in use by another raytap (process ")
	p.Signal(syscall.SIGTERM)
	if code := p.Code(); code != 0 {
		t.Fatalf("exit code %d; stderr:\n%s", code, p.Stderr.String())
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
	d.refused("it is corrupt (it was truncated: it has ")
	put([]byte(`{"version": 1}`))
	d.refused("it holds no positions of raytap (it is JSON): set shipper.positions.file to another path, or move it away")
	if err := os.Remove(positions); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the first attempt must not make the second one succeed
		d.refused("has records, but there are no positions for them")
	}
	put(good)
	if err := os.WriteFile(d.file, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	log := job.Log()
	job.End("SUCCEEDED", 0)
	p = d.start() // shorter than before: the positions are kept, and it is reported
	d.ended(p)
	if text := p.Stderr.String(); strings.Count(text, "file is shorter than the saved position") != 1 {
		t.Errorf("stderr:\n%s", text)
	}
	b, err := os.ReadFile(d.file)
	if err != nil {
		t.Fatal(err)
	}
	exact(t, records(t, strings.TrimPrefix(string(b), "{}\n")), log, strings.Count(string(log), "\n"))
}

// raytap exits if the reader of stdout is gone. Lines that were read are not shipped
// again, and the sequence numbers continue.
func TestDelivery_StdoutReaderGone(t *testing.T) {
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
	p := program.NewCommand(t, env)
	p.Cmd.Stdout = w
	p.Serve()
	w.Close()
	<-reading
	job.Print("three\n")
	if code := p.Code(); code != 1 || !strings.Contains(p.Stderr.String(), "its reader has exited") {
		t.Fatalf("exit code %d; stderr:\n%s", code, p.Stderr.String())
	}
	log := job.Log()
	job.End("SUCCEEDED", 0)
	p = program.NewCommand(t, env).Serve()
	p.Until("the end is shipped", func() bool { return strings.Contains(p.Stdout.String(), `"event":"end"`) })
	exact(t, slices.Concat(records(t, read.String()), records(t, p.Stdout.String())), log, 0)
}
