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
)

// The file holds each line once and in order, whatever dies meanwhile: raytap
// itself, again and again, and the dashboard's JobHead.
func TestShipper_ProcessesKilled(t *testing.T) {
	head := sharedHead(t)
	daemons, sinks := make([]*daemon, len(ways)), make([]string, len(ways))
	start := func(i int) {
		s := ways[i].settings
		s.Sink = sinks[i]
		daemons[i] = startDaemon(t, head, s)
	}
	for i := range ways {
		sinks[i] = filepath.Join(t.TempDir(), "lines.jsonl")
		start(i)
	}
	jobs := submitAll(t, head, []printer{
		{Mode: "lines", Count: 20_000, Seconds: 45},
		{Mode: "progress", Count: 1_000, Seconds: 40},
		{Mode: "halves", Count: 300, Seconds: 40},
	})
	stopped := submitAll(t, head, []printer{{Mode: "halves", Name: "stopped", Count: 10_000, Seconds: 1200}})[0]
	for i := range ways {
		eventually(t, time.Minute, "lines of every job are in the file", func() error {
			return fileHolds(t, sinks[i], 20, append(ids(jobs), stopped.id)...)
		})
	}
	for round := range 3 {
		for i := range ways {
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
		<-time.After(5 * time.Second) // as long as these lives last
	}
	status := waitAll(t, head, 2*time.Minute, jobs)
	for i, way := range ways {
		eventually(t, 2*time.Minute, "every job's end is in the file", func() error {
			got, _ := fileStreams(t, sinks[i])
			for _, j := range append(slices.Clone(jobs), stopped) {
				if r := got[j.id]; len(r) == 0 || r[len(r)-1].Event != "end" {
					return fmt.Errorf("%s: job %s has %d records and no end", way.name, j.name(), len(r))
				}
			}
			return nil
		})
		got, n := fileStreams(t, sinks[i])
		for _, j := range jobs {
			checkStream(t, way.name, j.printer, j.id, status[j.id], got[j.id])
		}
		checkStopped(t, way.name, got[stopped.id])
		t.Logf("%-9s: %d records in the file after 3 kills of raytap and 1 of JobHead", way.name, n)
		daemons[i].stop(t)
	}
}

// checkStopped looks at the records of a job that was stopped in mid-line: what
// it had printed is there once, and said to be all.
func checkStopped(t *testing.T, way string, records []record) {
	t.Helper()
	end := records[len(records)-1]
	if end.Status != "STOPPED" || end.Complete == nil || !*end.Complete {
		t.Errorf("%s: the stopped job's end is %+v", way, end)
	}
	seq := 0
	for _, r := range records {
		if *r.Seq != seq || *r.Epoch != 0 {
			t.Fatalf("%s: the stopped job has seq %d of epoch %d where %d was due", way, *r.Seq, *r.Epoch, seq)
		}
		if r.Event == "" {
			seq++
		}
	}
}

// fileStreams reads a sink file and those that were rotated before it.
func fileStreams(t *testing.T, path string) (streams, int) {
	t.Helper()
	names, err := filepath.Glob(path + ".0*")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	got, n := streams{}, 0
	for _, name := range append(names, path) {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(b) {
			if line[len(line)-1] != '\n' {
				break // it is being written
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

func fileHolds(t *testing.T, path string, records int, ids ...string) error {
	t.Helper()
	got, _ := fileStreams(t, path)
	for _, id := range ids {
		if len(got[id]) < records {
			return fmt.Errorf("%d records of job %s", len(got[id]), id)
		}
	}
	return nil
}
