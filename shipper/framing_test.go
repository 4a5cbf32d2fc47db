package shipper

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"raytap/shipper/tail"
	"raytap/shipper/writer"

	"raytap/ray"
	"raytap/shipper/record"
)

// sendPieces prints pieces of text, each sent as one message after the previous one
// was received.
func (r *harness) sendPieces(a *fakeAgent, id string, taken func(i int) bool, pieces ...string) {
	r.t.Helper()
	for i, p := range pieces {
		a.print(id, "%s", p)
		r.until(fmt.Sprintf("piece %d is taken", i), func() bool { return taken(i) })
	}
}

func TestFraming_LinesTurnOutToBeText(t *testing.T) {
	t.Parallel()
	a := newFakeAgent()
	a.cut = func(rest []byte) int { return len(rest) }
	r := newMessageHarness(t, a, fastOptions(tail.ProtocolWebSocket), writer.Options{}, "")
	a.submit("job-1")
	r.sendPieces(a, "job-1", func(i int) bool {
		return a.count(func() int { return a.sent }) > i && (i == 0 || i == 3 || len(r.records("job-1")) == i+2)
	},
		"Loading", ".", ".", ".\n")
	a.print("job-1", "the second line\nthe third line\n")
	a.end("job-1", ray.JobSucceeded)
	r.waitEnd("job-1")
	var got []string
	for _, rec := range r.records("job-1") {
		got = append(got, fmt.Sprintf("%d/%d %s%s", rec.Epoch, rec.Seq, map[bool]string{true: rec.Event, false: rec.Message}[rec.Event != ""], ""))
	}
	want := "[0/0 start 0/0 Loading 0/1 . 0/2 . 1/0 epoch 1/0 . 1/1 the second line 1/2 the third line 1/3 end]"
	if fmt.Sprint(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestFraming_TextTurnsIntoLines(t *testing.T) {
	t.Parallel()
	a := newFakeAgent()
	a.cut = func(rest []byte) int { return len(rest) }
	fail := false
	a.next = func(bool, string, int) error {
		if fail { // once: after two failures the next transport is tried
			fail, a.lines = false, true
			return &ray.Error{Op: "tail job", Code: 503, Detail: "closed"}
		}
		return nil
	}
	r := newMessageHarness(t, a, fastOptions(tail.ProtocolWebSocket), writer.Options{}, "")
	a.submit("job-1")
	a.print("job-1", "a\nb\n")
	r.until("the first lines are shipped", func() bool { return len(r.records("job-1")) == 3 })
	a.change(func() { fail = true })
	r.until("the agent has closed the stream", func() bool { return r.metric("read_ends_total", "reason", "connection") > 0 })
	a.print("job-1", "c\nd\n")
	r.until("lines are shipped while the job runs", func() bool {
		recs := r.records("job-1")
		return recs[len(recs)-1].Message == "d"
	})
	if n := len(r.events("job-1", record.EventEpoch)); n != 1 {
		t.Errorf("%d epoch events, want 1", n)
	}
}

func TestFraming_SavedBeforeFirstLine(t *testing.T) {
	t.Parallel()
	a := newFakeAgent()
	a.cut = func(rest []byte) int { return len(rest) }
	file := filepath.Join(t.TempDir(), "lines.jsonl")
	oo := writer.Options{Interval: time.Hour}
	r := newMessageHarness(t, a, fastOptions(tail.ProtocolWebSocket), oo, file)
	a.submit("job-1")
	r.sendPieces(a, "job-1", func(i int) bool {
		return a.count(func() int { return a.sent }) > i && (i == 0 || len(r.records("job-1")) == i+2)
	},
		"Loading", ".")
	r.kill() // the two lines are in the sink, but their position is not saved
	a.print("job-1", ".\nthe second line\n")
	r = newMessageHarness(t, a, fastOptions(tail.ProtocolWebSocket), oo, file)
	a.end("job-1", ray.JobSucceeded)
	r.waitEnd("job-1")
	got := ""
	for _, rec := range r.records("job-1") {
		if rec.Event == "" {
			got += rec.Message + "|"
		}
	}
	if !strings.HasSuffix(got, "the second line|") || !strings.HasPrefix(got, "Loading|.|") {
		t.Errorf("lines are %s", got)
	}
}
