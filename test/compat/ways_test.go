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

// way is one manner to run raytap on a cluster.
type way struct {
	name, protocol, agents string

	config string // its file
	sink   string
	url    string // of its page
	*program.Process
}

func theWays() []*way {
	return []*way{
		{name: "auto", protocol: "auto", agents: "on"},
		{name: "auto-without-agents", protocol: "auto", agents: "off"},
		{name: "websocket", protocol: "websocket", agents: "off"},
		{name: "http", protocol: "http", agents: "on"},
		{name: "http-without-agents", protocol: "http", agents: "off"},
	}
}

// configure writes the way's configuration.
func (w *way) configure(t *testing.T, head *realray.Head) {
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

// start starts raytap, as it was before where it ran already.
func (w *way) start(t *testing.T) {
	t.Helper()
	cmd := program.Raytap(t, "--config.file", w.config, "--log.level", "debug")
	w.Process = program.Start(t, cmd)
	w.Until(30*time.Second, "raytap serves its page", func() bool { return program.Get(w.url+"/-/healthy") != "" })
}

// job is one that was submitted.
type job struct {
	mode, id string
	status   string
	exit     *int
	log      []byte // the file that Ray wrote
}

// submit submits a job of each mode.
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

// awaitEnds returns when every job has ended; it learns how, and what its log holds.
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

// Every way gives each line of each job once, over two kills of raytap, and says
// the truth of each job's end: complete where all of the log is in the file, and
// where a Ray can give no more of a log, that it is not.
func TestCompat_EveryLineOnce(t *testing.T) {
	head := startHead(t)
	ways := theWays()
	early := submit(t, head, "short", "unended") // over before raytap is there
	awaitEnds(t, head, time.Minute, early)
	for _, w := range ways {
		w.configure(t, head)
		w.start(t)
	}
	jobs := submit(t, head, "big", "slow", "returns", "bytes", "short", "failing", "unended", "short", "unended")
	tasks := submitTasks(t, head)
	for kill := range 2 {
		eventually(t, time.Minute, "lines of the long job are shipped", func() error {
			text, err := os.ReadFile(ways[0].sink)
			if n := bytes.Count(text, []byte{'\n'}); err != nil || n < 20_000*(kill+1) {
				return fmt.Errorf("%d records (%v)", n, err)
			}
			return nil
		})
		for _, w := range ways {
			w.Kill()
			w.start(t)
		}
	}
	agreeOnMetrics(t, head, ways[0], tasks)
	awaitEnds(t, head, 2*time.Minute, jobs)
	jobs = append(early, jobs...)
	awaitRecords(t, ways, jobs)
	for _, w := range ways {
		got := readRecords(t, w.sink)
		for _, j := range jobs {
			if err := check(w, j, minor(t), got[j.id]); err != nil {
				t.Errorf("%s: job %s (%s): %v", w.name, j.mode, j.id, err)
			}
		}
		if said := w.Output.String(); head.Token != "" && strings.Contains(said, head.Token) {
			t.Errorf("%s: the log shows the token", w.name)
		}
		if code := w.Stop(20 * time.Second); code != 0 {
			t.Errorf("%s: exit code %d", w.name, code)
		}
	}
}

// awaitRecords returns when each job has its end in each way's file.
func awaitRecords(t *testing.T, ways []*way, jobs []*job) {
	t.Helper()
	over, tick := time.Now(), time.NewTicker(500*time.Millisecond)
	defer tick.Stop()
	limits := map[*way]time.Duration{}
	for left := slices.Clone(ways); len(left) > 0; <-tick.C {
		late := time.Since(over)
		left = slices.DeleteFunc(left, func(w *way) bool {
			missing := w.missing(t, jobs)
			switch {
			case missing == "":
				t.Logf("%-20s: all ends are there %.1f s after the last job's", w.name, late.Seconds())
				return true
			case late > max(base, limits[w]):
				if limits[w] = w.patience("/api/jobs/"); late > limits[w] {
					t.Errorf("%s: no end within %s after the jobs': %s", w.name, limits[w], missing)
					return true
				}
			}
			return false
		})
	}
}

// missing names the jobs that have no end in the file yet.
func (w *way) missing(t *testing.T, jobs []*job) string {
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

// ended looks for a job's end without decoding what is before it.
func ended(text []byte, id string) bool {
	for line := range bytes.Lines(text) {
		if bytes.Contains(line, []byte(`"event":"end"`)) && bytes.Contains(line, []byte(id)) {
			return true
		}
	}
	return false
}
