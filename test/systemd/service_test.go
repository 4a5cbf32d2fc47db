//go:build e2e && linux

package systemd

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"raytap/ray/raytest"
	"raytap/test/program"
)

const (
	url   = "http://127.0.0.1:9265"
	lines = "/var/lib/raytap/raytap.jsonl"
)

// service is the package's unit on a machine, and a fake head with a job.
type service struct {
	*machine
	head    *raytest.Head
	job     *raytest.Job
	printed int // lines of the job
}

// install boots a machine, installs the package there, and configures it for a head, as
// documented. It does not start the unit.
func install(t *testing.T) *service {
	t.Helper()
	program.NeedRoot(t, whyRoot)
	file := deb(t, "1.2.3")
	s := &service{machine: newMachine(t)}
	s.must("dpkg", "-i", s.put(file, "/tmp"))
	var err error
	s.inside(func() { s.head, err = raytest.Start() })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.head.Close)
	s.job = s.head.Submit("raysubmit_1", raytest.JobOptions{})
	s.configure("url: .*", "url: "+s.head.URL())
	return s
}

// configure edits the configuration: from is a sed expression, to its replacement.
func (s *service) configure(from, to string) {
	s.t.Helper()
	s.must("sed", "-i", "-E", "s#"+from+"#"+to+"#", "/etc/raytap/raytap.yaml")
}

// override writes a drop-in, like systemctl edit.
func (s *service) override(text string) {
	s.t.Helper()
	s.write("/etc/systemd/system/raytap.service.d/override.conf", strings.NewReader("[Service]\n"+text+"\n"))
	s.must("systemctl", "daemon-reload")
}

// show returns the properties of the unit.
func (s *service) show() map[string]string {
	s.t.Helper()
	return fields(s.must("systemctl", "show", "raytap"))
}

// print makes the job print lines.
func (s *service) print(n int) {
	for range n {
		s.printed++
		s.job.Printf("line %d\n", s.printed)
	}
}

// written returns how often each line of the job is in the sink file.
func (s *service) written() map[string]int {
	s.t.Helper()
	out, _ := s.try("cat", lines)
	seen := map[string]int{}
	for line := range strings.Lines(out) {
		var record struct {
			Message string `json:"message"`
		}
		// The last record may be partial; Ray and raytap write lines, too.
		if json.Unmarshal([]byte(line), &record) == nil && strings.HasPrefix(record.Message, "line ") {
			seen[record.Message]++
		}
	}
	return seen
}

// awaitLines waits until every line of the job is in the file, and checks that each is
// there once.
func (s *service) awaitLines() {
	s.t.Helper()
	want := map[string]int{}
	for n := range s.printed {
		want[fmt.Sprintf("line %d", n+1)] = 1
	}
	s.until("all lines are in the file", func() bool { return len(s.written()) >= len(want) })
	if got := s.written(); !maps.Equal(got, want) {
		for line, n := range got {
			if want[line] != n {
				s.t.Errorf("%q is in the file %d times", line, n)
			}
		}
		s.t.Fatalf("%d lines are in the file, want %d", len(got), len(want))
	}
}

// journal returns the unit's log messages of raytap and systemd.
func (s *service) journal() string {
	s.t.Helper()
	return s.must("journalctl", "--no-pager", "-o", "cat", "-u", "raytap")
}

// awaitLog waits for all of these texts in the journal.
func (s *service) awaitLog(texts ...string) {
	s.t.Helper()
	s.until(fmt.Sprintf("the journal has %q", texts), func() bool {
		all := s.journal()
		return !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(all, text) })
	})
}

// awaitRestart waits until systemd has restarted the unit, and raytap is ready. before is
// an earlier result of show.
func (s *service) awaitRestart(before map[string]string) {
	s.t.Helper()
	s.until("systemd has restarted raytap", func() bool {
		now := s.show()
		return now["NRestarts"] != before["NRestarts"] && now["ActiveState"] == "active" && now["MainPID"] != before["MainPID"]
	})
}
