//go:build e2e && linux

package test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"raytap/test/program"
	"raytap/test/realray"
)

// workerRecord is what this test reads of a record.
type workerRecord struct {
	Log          string `json:"log"`
	Source       string `json:"source"`
	Stream       string `json:"stream"`
	SubmissionID string `json:"submission_id"`
	JobID        string `json:"job_id"`
	WorkerID     string `json:"worker_id"`
	ActorName    string `json:"actor_name"`
	Application  string `json:"application"`
	Deployment   string `json:"deployment"`
	Epoch        int    `json:"epoch"`
	Seq          int    `json:"seq"`
	Event        string `json:"event"`
	EventLabel   string `json:"event_label"`
	Level        string `json:"level"`
	Message      string `json:"message"`
}

// workerPrinter is a process that prints lines of jobs/workers.py.
type workerPrinter struct {
	name  string
	count int
}

func (p workerPrinter) text(stream string, k int) string {
	return fmt.Sprintf("%s %s %06d %s", p.name, stream, k, strings.Repeat("x", k%97))
}

// Each line that tasks, actors, a DRIVER job, a detached actor and a Serve application
// print is shipped once and in order, while Ray rotates the files and moves those of dead
// workers, and while raytap is killed.
func TestWorkers_EveryLine(t *testing.T) {
	t.Parallel() // it has its own head
	const count, seconds = 4_000, 30
	scripts, err := filepath.Abs("jobs")
	if err != nil {
		t.Fatal(err)
	}
	ray, err := program.Find("ray/bin/ray")
	if err != nil {
		t.Fatal(err)
	}
	ctx := within(t, 6*time.Minute)
	head := ownHead(t, realray.Options{CPUs: 4, Env: []string{
		"PYTHONPATH=" + scripts, "RAY_ROTATION_MAX_BYTES=100000", "RAY_ROTATION_BACKUP_COUNT=5", "RAY_LOG_MONITOR_MAX_OPEN_FILES=4",
	}})
	if _, err := head.AddNode(ctx, "127.0.0.3", 4); err != nil {
		t.Fatal(err)
	}
	// The second raylet writes to the same directory.
	sink := filepath.Join(t.TempDir(), "lines.jsonl")
	workers := settings{Sink: sink, Shipper: "sources: [driver, worker, serve, system, event]", AllJobs: true}
	d := startDaemon(t, head, workers)

	command := func(args string) string { return fmt.Sprintf("exec python3 '%s/workers.py' %s", scripts, args) }
	submitted, err := head.Submit(ctx, realray.Submission{Entrypoint: command(fmt.Sprintf("jobs job %d %d", count, seconds))})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := head.Submit(ctx, realray.Submission{Entrypoint: command(fmt.Sprintf("detached detached %d %d", count, seconds))}); err != nil {
		t.Fatal(err)
	}
	driver := exec.CommandContext(ctx, filepath.Join(filepath.Dir(ray), "python3"),
		filepath.Join(scripts, "workers.py"), "jobs", "driver", strconv.Itoa(count), strconv.Itoa(seconds))
	driver.Env = append(realray.CleanEnv(), "RAY_ADDRESS="+head.Address())
	driverProcess := program.Start(t, driver)
	port := freePort(t)
	if err := head.DeployServe(ctx, port, "shop", "serve_workers:app"); err != nil {
		t.Fatal(err)
	}
	requested := make(chan error, 1)
	go func() {
		requested <- request(ctx, fmt.Sprintf("http://127.0.0.1:%d/?count=%d&seconds=%d", port, count, seconds))
	}()

	printers := []workerPrinter{{"detached", count}, {"serve", count}}
	for _, job := range []string{"job", "driver"} {
		printers = append(printers, workerPrinter{job + "-actor", count})
		for i := range 4 {
			printers = append(printers, workerPrinter{fmt.Sprintf("%s-task-%d", job, i), count})
		}
		for i := range 10 {
			printers = append(printers, workerPrinter{fmt.Sprintf("%s-short-%d", job, i), 1})
		}
	}
	for kill := range 3 {
		want := (kill + 1) * 15_000
		eventually(t, 2*time.Minute, "lines are in the file", func() error {
			n := 0
			for _, b := range readSink(t, sink) {
				n += bytes.Count(b, []byte("\n"))
			}
			if n < want {
				return fmt.Errorf("%d records", n)
			}
			return nil
		})
		d.Kill()
		d = startDaemon(t, head, workers)
	}
	<-driverProcess.Exited
	if err := <-requested; err != nil {
		t.Fatal(err)
	}
	if _, err := head.WaitJob(ctx, submitted, realray.JobInfo.Terminal); err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, p := range printers {
		total += 2 * p.count
	}
	eventually(t, 2*time.Minute, "each line is in the file", func() error {
		if n := len(numberedWorkerLines(readWorkerRecords(t, sink))); n < total {
			return fmt.Errorf("%d of %d lines", n, total)
		}
		return nil
	})
	eventually(t, time.Minute, "the logs of Serve and of Ray, and its events, are in the file", func() error {
		return otherSources(readWorkerRecords(t, sink))
	})
	records := readWorkerRecords(t, sink)
	checkWorkerRecords(t, records)
	checkOtherRecords(t, records)
	checkWorkerLines(t, records, printers)
	checkAttribution(t, records, submitted)
	digest := 0
	for _, r := range records {
		if r.Source == "driver" && relayedLine.MatchString(r.Message) {
			digest++
		}
	}
	t.Logf("%d lines of workers; Ray's own driver logs have %d of them", total, digest)
}

// otherSources reports what is missing of the logs that are not of workers: lines of Serve's
// controller and proxy, of both raylets and the GCS, and the event of the worker that was
// killed.
func otherSources(records []workerRecord) error {
	wanted := map[string]func(r workerRecord) bool{
		"the controller": func(r workerRecord) bool {
			return r.Source == "serve" && strings.Contains(r.Log, "/serve/controller_") && strings.Contains(r.Message, "Deploying new app 'shop'")
		},
		"a proxy":           func(r workerRecord) bool { return r.Source == "serve" && strings.Contains(r.Log, "/serve/proxy_") },
		"the first raylet":  func(r workerRecord) bool { return r.Source == "system" && strings.HasSuffix(r.Log, "/raylet.out") },
		"the second raylet": func(r workerRecord) bool { return r.Source == "system" && strings.HasSuffix(r.Log, "/raylet.1.out") },
		"the GCS":           func(r workerRecord) bool { return r.Source == "system" && strings.HasSuffix(r.Log, "/gcs_server.out") },
		"the event of a killed worker": func(r workerRecord) bool {
			return r.Source == "event" && r.EventLabel == "RAY_WORKER_FAILURE" && r.Level == "ERROR" && r.JobID != "" && r.WorkerID != ""
		},
	}
	for what, is := range wanted {
		if !slices.ContainsFunc(records, is) {
			return fmt.Errorf("%s is missing", what)
		}
	}
	return nil
}

// checkOtherRecords checks that each log that is not of a worker comes from one directory, and
// that its records have different numbers.
func checkOtherRecords(t *testing.T, records []workerRecord) {
	t.Helper()
	seen, directory, count := map[string]bool{}, map[string]string{}, map[string]int{}
	for _, r := range records {
		if r.Source == "driver" || r.Source == "worker" {
			continue
		}
		node, name, _ := strings.Cut(r.Log, "/")
		key := fmt.Sprintf("%s %d %d %s", r.Log, r.Epoch, r.Seq, r.Event)
		if seen[key] {
			t.Errorf("a record comes twice: %s", key)
		}
		if directory[name] == "" {
			directory[name] = node
		}
		if node != directory[name] {
			t.Fatalf("%s comes from the directories of two nodes", name)
		}
		seen[key] = true
		count[r.Source]++
	}
	t.Logf("records of other sources: %v", count)
}

// request requests a URL until the application that serves it is there.
func request(ctx context.Context, url string) error {
	return poll(time.Minute, func() error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		res.Body.Close() // read for its status
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("GET %s: HTTP %d", url, res.StatusCode)
		}
		return nil
	})
}

// readSink returns the content of a sink file and of the rotated ones, the oldest first.
func readSink(t *testing.T, path string) [][]byte {
	t.Helper()
	names, err := filepath.Glob(path + ".0*")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	var all [][]byte
	for _, name := range append(names, path) {
		b, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, os.ErrNotExist) { // it is missing for a moment in each rotation
			t.Fatal(err)
		}
		all = append(all, b)
	}
	return all
}

// readWorkerRecords reads the records of a sink file and of the rotated ones.
func readWorkerRecords(t *testing.T, path string) []workerRecord {
	t.Helper()
	var all []workerRecord
	for _, b := range readSink(t, path) {
		for line := range bytes.Lines(b) {
			if line[len(line)-1] != '\n' {
				break // incomplete
			}
			var r workerRecord
			if err := json.Unmarshal(line, &r); err != nil {
				t.Fatalf("%v: %.300s", err, line)
			}
			all = append(all, r)
		}
	}
	return all
}

var (
	workerLine  = regexp.MustCompile(`^([a-z]+(?:-[a-z]+)?(?:-\d+)?) (stdout|stderr) (\d{6}) x*$`)
	relayedLine = regexp.MustCompile(`^\S*\(.* pid=\d+.*\)\S* [a-z]+-[a-z]+(?:-\d+)? (stdout|stderr) \d{6} `) // with colours
)

// numberedWorkerLines returns the records of workers' lines that a printer wrote.
func numberedWorkerLines(records []workerRecord) []workerRecord {
	var lines []workerRecord
	for _, r := range records {
		if r.Source == "worker" && r.Event == "" && workerLine.MatchString(r.Message) {
			lines = append(lines, r)
		}
	}
	return lines
}

// checkWorkerRecords checks the keys of the records: each log's numbers rise, there is one
// epoch and no gap.
func checkWorkerRecords(t *testing.T, records []workerRecord) {
	t.Helper()
	last := map[string]int{}
	for _, r := range records {
		if r.Source != "worker" {
			continue
		}
		switch {
		case r.Log == "" || r.WorkerID == "" || r.Stream == "":
			t.Errorf("a key is missing: %+v", r)
		case r.Event == "gap" || r.Epoch != 0:
			t.Errorf("%s: event %q, epoch %d: %s", r.Log, r.Event, r.Epoch, r.Message)
		case r.Event == "":
			if before, ok := last[r.Log]; ok && r.Seq <= before {
				t.Errorf("%s: seq %d after %d", r.Log, r.Seq, before)
			}
			last[r.Log] = r.Seq
		}
	}
}

// checkWorkerLines checks that each printer's lines are there once and in order. An actor
// that was restarted has two logs; which of them is read first is not promised.
func checkWorkerLines(t *testing.T, records []workerRecord, printers []workerPrinter) {
	t.Helper()
	got := map[string][]string{} // by printer and stream
	last := map[string]string{}  // by log
	for _, r := range numberedWorkerLines(records) {
		m := workerLine.FindStringSubmatch(r.Message)
		from, in := m[1]+" "+m[2], m[1]+" "+r.Log
		if r.Message <= last[in] {
			t.Errorf("%s: %.60q comes after %.60q", r.Log, r.Message, last[in])
		}
		last[in] = r.Message
		got[from] = append(got[from], r.Message)
	}
	for _, p := range printers {
		for _, stream := range []string{"stdout", "stderr"} {
			lines := got[p.name+" "+stream]
			slices.Sort(lines)
			if len(lines) != p.count {
				t.Errorf("%s, %s: %d of %d lines", p.name, stream, len(lines), p.count)
			}
			for k, line := range lines {
				if want := p.text(stream, k); line != want {
					t.Errorf("%s, %s: line %d is %.60q, want %.60q", p.name, stream, k, line, want)
					break
				}
			}
		}
	}
}

// checkAttribution checks that one query finds what a job's workers printed, and a Serve
// application's replicas.
func checkAttribution(t *testing.T, records []workerRecord, submitted string) {
	t.Helper()
	for _, r := range numberedWorkerLines(records) {
		name := workerLine.FindStringSubmatch(r.Message)[1]
		job, _, _ := strings.Cut(name, "-")
		switch job {
		case "job":
			if r.SubmissionID != submitted {
				t.Fatalf("a line of job %s has submission_id %q: %+v", submitted, r.SubmissionID, r)
			}
		case "driver":
			if r.SubmissionID != "" || r.JobID == "" {
				t.Fatalf("a line of a DRIVER job: %+v", r)
			}
		case "serve":
			if r.Application != "shop" || r.Deployment != "Printer" {
				t.Fatalf("a line of a Serve replica: %+v", r)
			}
		case "detached":
			if r.ActorName != "Printer" {
				t.Fatalf("a line of a detached actor: %+v", r)
			}
		}
	}
}
