package shipper

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"raytap/shipper/checkpoint"
	"raytap/shipper/writer"

	"raytap/ray/raytest"
)

// headLines is the number of lines that the fake head prints before those of a job.
const headLines = 2

// savedLines returns the number of lines of the only log in the saved positions.
func (r *harness) savedLines() int {
	saved, err := checkpoint.Read(r.out.Positions.File())
	if err != nil {
		r.t.Fatal(err)
	}
	for _, c := range saved.Clusters {
		for _, l := range c.Logs {
			return int(l.Position.Lines)
		}
	}
	return 0
}

// copyOver replaces a file by a copy of it.
func copyOver(file string) error {
	b, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file+".copy", b, 0o600)
	}
	if err != nil {
		return err
	}
	return os.Rename(file+".copy", file)
}

func emptyOver(file string) error {
	if err := os.WriteFile(file+".new", nil, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// A removed sink file is created again and begins with the first line that
// was not saved as shipped while the file existed. From there on each line is
// in it once and in order, with the same seq. A file that others have put in its
// place is appended to.
func TestSinkFile_RemovedIsReadAgain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what   string
		remove func(file string) error
		kept   bool // the new file has its lines
	}{
		{"the file", os.Remove, false},
		{"its directory", func(file string) error { return os.RemoveAll(filepath.Dir(file)) }, false},
		{"the file, and it is replaced by a copy", copyOver, true},
		{"the file, and it is replaced by an empty one", emptyOver, false},
	} {
		for _, interval := range []time.Duration{time.Millisecond, time.Hour} {
			t.Run(fmt.Sprintf("%s, saved each %s", c.what, interval), func(t *testing.T) {
				t.Parallel()
				eachTransport(t, func(t *testing.T, protocol, agents string) {
					head := raytest.New(t, raytest.SlotReleaseDelay(20*time.Millisecond))
					file := filepath.Join(t.TempDir(), "sub", "lines.jsonl")
					if err := os.Mkdir(filepath.Dir(file), 0o700); err != nil {
						t.Fatal(err)
					}
					r := newHarnessWithFile(t, head, agents, fastOptions(protocol), writer.Options{Interval: interval}, file)
					testRemoval(t, r, file, c.remove, c.kept)
				})
			})
		}
	}
}

func testRemoval(t *testing.T, r *harness, file string, remove func(string) error, kept bool) {
	job := r.head.Submit("job-1", raytest.JobOptions{})
	printed := headLines
	print := func(n int) {
		for range n {
			job.Printf("line %d\n", printed)
			printed++
		}
	}
	last := func() int {
		lines := r.events("job-1", "")
		if len(lines) == 0 {
			return -1
		}
		return int(lines[len(lines)-1].Seq)
	}
	print(50)
	r.until("the lines are in the file", func() bool { return last() == printed-1 })
	least, most := r.savedLines(), printed // a save may be running that has still found the file
	if err := remove(file); err != nil {
		t.Fatal(err)
	}
	print(1)
	r.until("another file exists, and grows", func() bool {
		_, err := os.Stat(file)
		return err == nil && last() == printed-1
	})
	print(3)
	job.End("SUCCEEDED", 0)
	if end := r.waitEnd("job-1"); !*end.Complete || *end.Lines != uint64(printed) {
		t.Errorf("end event %+v", end)
	}
	lines := r.events("job-1", "")
	first := int(lines[0].Seq)
	if kept {
		least, most = 0, 0
	}
	if first < least || first > most {
		t.Errorf("the file begins with line %d, want %d to %d", first, least, most)
	}
	for i, rec := range lines {
		if want := first + i; int(rec.Seq) != want || rec.Epoch != 0 || want >= headLines && rec.Message != fmt.Sprintf("line %d", want) {
			t.Fatalf("record %d is %+v, want line %d", i, rec, want)
		}
	}
	if n := first + len(lines); n != printed {
		t.Errorf("the file ends with line %d of %d", n, printed)
	}
	if !strings.Contains(r.logText(), "Sink file was removed by another program") {
		t.Error("the log does not report that the file was removed")
	}
}
