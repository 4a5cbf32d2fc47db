//go:build e2e && linux

package test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"raytap/test/realray"
)

// The sink file has each line once and in order after kills of raytap and of the
// dashboard's JobHead.
func TestShipper_ProcessesKilled(t *testing.T) {
	t.Parallel()
	head := ownHead(t, realray.Options{CPUs: 8})
	daemons, sinks := make([]*daemon, len(transports)), make([]string, len(transports))
	start := func(i int) {
		s := transports[i].settings
		s.Sink = sinks[i]
		daemons[i] = startDaemon(t, head, s)
	}
	for i := range transports {
		sinks[i] = filepath.Join(t.TempDir(), "lines.jsonl")
		start(i)
	}
	jobs := submitAll(t, head, []printer{
		{Mode: "lines", Count: 20_000, Seconds: 45},
		{Mode: "progress", Count: 1_000, Seconds: 40},
		{Mode: "partial", Count: 300, Seconds: 40},
	})
	stopped := submitAll(t, head, []printer{{Mode: "partial", Name: "stopped", Count: 10_000, Seconds: 1200}})[0]
	for i := range transports {
		eventually(t, time.Minute, "lines of every job are in the file", func() error {
			return checkFile(t, sinks[i], 20, append(ids(jobs), stopped.id)...)
		})
	}
	for round := range 3 {
		for i := range transports {
			daemons[i].Kill()
			start(i)
		}
		switch round {
		case 0:
			if err := head.KillModule("JobHead"); err != nil {
				t.Fatal(err)
			}
		case 1:
			if err := head.StopJob(t.Context(), stopped.id); err != nil {
				eventually(t, 30*time.Second, "the job is stopped", func() error { return head.StopJob(t.Context(), stopped.id) })
			}
		}
		<-time.After(5 * time.Second) // let them run for a while
	}
	status := waitAll(t, head, 2*time.Minute, jobs)
	for i, tr := range transports {
		eventually(t, 2*time.Minute, "every job has an end event in the file", func() error {
			got, _ := readFile(t, sinks[i])
			for _, j := range append(slices.Clone(jobs), stopped) {
				if r := got[j.id]; len(r) == 0 || r[len(r)-1].Event != "end" {
					return fmt.Errorf("%s: job %s has %d records and no end event", tr.name, j.name(), len(r))
				}
			}
			return nil
		})
		got, n := readFile(t, sinks[i])
		for _, j := range jobs {
			checkRecords(t, tr.name, j.printer, j.id, status[j.id], got[j.id])
		}
		checkStopped(t, tr.name, got[stopped.id])
		t.Logf("%-9s: %d records in the file after 3 kills of raytap and 1 of JobHead", tr.name, n)
		daemons[i].stop(t)
	}
}

// checkStopped checks the records of a job that was stopped within a line: each line is
// there once, and the end event is complete.
func checkStopped(t *testing.T, transport string, records []record) {
	t.Helper()
	end := records[len(records)-1]
	if end.Status != "STOPPED" || end.Complete == nil || !*end.Complete {
		t.Errorf("%s: the end event of the stopped job is %+v", transport, end)
	}
	seq := 0
	for _, r := range records {
		if *r.Seq != seq || *r.Epoch != 0 {
			t.Fatalf("%s: the stopped job has seq %d of epoch %d, want seq %d", transport, *r.Seq, *r.Epoch, seq)
		}
		if r.Event == "" {
			seq++
		}
	}
}

// readFile reads a sink file and the rotated ones.
func readFile(t *testing.T, path string) (recordsByJob, int) {
	t.Helper()
	names, err := filepath.Glob(path + ".0*")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	got, n := recordsByJob{}, 0
	for _, name := range append(names, path) {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(b) {
			if line[len(line)-1] != '\n' {
				break // incomplete
			}
			rec, err := parseRecord(line)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			n++
			got[rec.SubmissionID] = append(got[rec.SubmissionID], rec)
		}
	}
	return got, n
}

// checkFile returns an error unless each job has this many records in a sink file.
func checkFile(t *testing.T, path string, records int, ids ...string) error {
	t.Helper()
	got, _ := readFile(t, path)
	for _, id := range ids {
		if len(got[id]) < records {
			return fmt.Errorf("%d records of job %s", len(got[id]), id)
		}
	}
	return nil
}
