//go:build e2e && linux

package compat

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"raytap/test/program"
	"raytap/test/realray"
)

// setup is a raytap with one configuration of transports.
type setup struct {
	name, protocol, agents string

	config string // path of its configuration
	sink   string
	url    string // of its HTTP server
	*program.Process
}

func newSetups() []*setup {
	return []*setup{
		{name: "auto", protocol: "auto", agents: "on"},
		{name: "auto-without-agents", protocol: "auto", agents: "off"},
		{name: "websocket", protocol: "websocket", agents: "off"},
		{name: "http", protocol: "http", agents: "on"},
		{name: "http-without-agents", protocol: "http", agents: "off"},
	}
}

// configure writes the configuration file.
func (w *setup) configure(t *testing.T, head *realray.Head) {
	t.Helper()
	dir, listen := t.TempDir(), program.FreeAddress(t)
	w.sink, w.url = filepath.Join(dir, "lines.jsonl"), "http://"+listen
	auth := ""
	if head.Token != "" {
		auth = "\n    auth: {token: " + quoted(head.Token) + "}"
	}
	w.config = program.File(t, filepath.Join(dir, "raytap.yaml"), fmt.Sprintf(`clusters:
  - name: compat
    url: %q
    node_agents: {mode: %s, allow: [127.0.0.0/8]}%s
shipper: {protocol: %s, discovery: {interval: 2s, backfill: all}}
sink: {file: {path: %q, rotate: {max_size: 0}}}
web: {listen_addresses: [%q]}
`, head.URL, w.agents, auth, w.protocol, w.sink, listen))
}

// start starts raytap. Files of an earlier run are kept.
func (w *setup) start(t *testing.T) {
	t.Helper()
	cmd := program.Raytap(t, "--config.file", w.config, "--log.level", "debug")
	w.Process = program.Start(t, cmd)
	w.Until(30*time.Second, "raytap serves HTTP", func() bool { return program.Get(w.url+"/-/healthy") != "" })
}

// job is a submitted job.
type job struct {
	mode, id string
	status   string
	exit     *int
	log      []byte // content of Ray's log file
}

// submit submits one job per mode of prints.py.
func submit(t *testing.T, head *realray.Head, modes ...string) []*job {
	t.Helper()
	script, err := filepath.Abs("prints.py")
	if err != nil {
		t.Fatal(err)
	}
	var jobs []*job
	for _, mode := range modes {
		began := time.Now()
		id, err := head.Submit(t.Context(), realray.Submission{
			Entrypoint: "python3 -S -E " + script + " " + mode, Metadata: map[string]string{"job_name": mode}})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("submitting %s took %.1f s", mode, time.Since(began).Seconds())
		jobs = append(jobs, &job{mode: mode, id: id})
	}
	return jobs
}

// awaitEnds waits until every job has ended, and sets its status, exit code and log.
func awaitEnds(t *testing.T, head *realray.Head, limit time.Duration, jobs []*job) {
	t.Helper()
	for _, j := range jobs {
		eventually(t, limit, "job "+j.mode+" ends", func() error {
			info, err := head.Job(t.Context(), j.id)
			if err == nil && !info.Terminal() {
				err = errors.New(info.Status)
			}
			j.status, j.exit = info.Status, info.ExitCode
			return err
		})
		b, err := os.ReadFile(filepath.Join(head.LogDir(), "job-driver-"+j.id+".log"))
		if err != nil {
			t.Fatal(err)
		}
		j.log = b
	}
}

// Each setup ships each line of each job once, over two kills of raytap. An end event is
// complete if and only if all of the log is in the file; some transports of some Rays
// cannot read all of a log.
func TestCompat_EveryLineOnce(t *testing.T) {
	head := startHead(t)
	setups := newSetups()
	early := submit(t, head, "short", "unended") // these end before raytap starts
	awaitEnds(t, head, time.Minute, early)
	for _, w := range setups {
		w.configure(t, head)
		w.start(t)
	}
	jobs := submit(t, head, "big", "slow", "returns", "bytes", "short", "failing", "unended", "short", "unended")
	tasks := submitTasks(t, head)
	for kill := range 2 {
		eventually(t, time.Minute, "lines of the long job are shipped", func() error {
			text, err := os.ReadFile(setups[0].sink)
			if n := bytes.Count(text, []byte{'\n'}); err != nil || n < 20_000*(kill+1) {
				return fmt.Errorf("%d records (%v)", n, err)
			}
			return nil
		})
		for _, w := range setups {
			w.Kill()
			w.start(t)
		}
	}
	compareMetrics(t, head, setups[0], tasks)
	awaitEnds(t, head, 2*time.Minute, jobs)
	jobs = append(early, jobs...)
	awaitRecords(t, setups, jobs)
	for _, w := range setups {
		got := readRecords(t, w.sink)
		for _, j := range jobs {
			if err := check(w, j, minor(t), got[j.id]); err != nil {
				t.Errorf("%s: job %s (%s): %v", w.name, j.mode, j.id, err)
			}
		}
		if log := w.Output.String(); head.Token != "" && strings.Contains(log, head.Token) {
			t.Errorf("%s: the log contains the token", w.name)
		}
		if code := w.Stop(20 * time.Second); code != 0 {
			t.Errorf("%s: exit code %d", w.name, code)
		}
	}
}

// awaitRecords waits until each job has its end event in each setup's file.
func awaitRecords(t *testing.T, setups []*setup, jobs []*job) {
	t.Helper()
	began, tick := time.Now(), time.NewTicker(500*time.Millisecond)
	defer tick.Stop()
	limits := map[*setup]time.Duration{}
	for left := slices.Clone(setups); len(left) > 0; <-tick.C {
		took := time.Since(began)
		left = slices.DeleteFunc(left, func(w *setup) bool {
			missing := w.missing(t, jobs)
			switch {
			case missing == "":
				t.Logf("%-20s: all end events %.1f s after the last job ended", w.name, took.Seconds())
				return true
			case took > max(baseTimeout, limits[w]):
				if limits[w] = w.listTimeout("/api/jobs/"); took > limits[w] {
					t.Errorf("%s: no end event within %s after the jobs ended: %s", w.name, limits[w], missing)
					return true
				}
			}
			return false
		})
	}
}

// missing returns the names of the jobs without an end event in the file.
func (w *setup) missing(t *testing.T, jobs []*job) string {
	t.Helper()
	text, err := os.ReadFile(w.sink)
	if err != nil {
		t.Fatal(err)
	}
	var missing []string
	for _, j := range jobs {
		if !ended(text, j.id) {
			missing = append(missing, j.mode)
		}
	}
	return strings.Join(missing, ", ")
}

// ended reports whether text has the end event of a job. It decodes no records.
func ended(text []byte, id string) bool {
	for line := range bytes.Lines(text) {
		if bytes.Contains(line, []byte(`"event":"end"`)) && bytes.Contains(line, []byte(id)) {
			return true
		}
	}
	return false
}
