package tail

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"raytap/ray"
	"raytap/shipper/checkpoint"
)

func TestTail_Run(t *testing.T) {
	pending := runningJob
	pending.Status, pending.DriverNodeID, pending.DriverAgentURL = ray.JobPending, "", ""
	limited := Options{Limits: Limits{MaxLines: 1}}
	for name, tt := range map[string]struct {
		job    ray.Job
		o      Options
		log    string
		err    error                             // of all reads
		while  func(t *testing.T, tl *Tail)      // while it runs
		before func(tl *Tail, l *checkpoint.Log) // it runs
		want   []string
		atEnd  bool
	}{
		"to the end": {job: endedJob, log: "a\nb\nlast", want: []string{"[start]", "a", "b", "last", "[end]"}, atEnd: true},
		"pending first": {
			job: pending, log: "a\n",
			while: func(_ *testing.T, tl *Tail) { tl.Update(runningJob); synctest.Wait(); tl.Update(endedJob) },
			want:  []string{"[start]", "a", "[end]"}, atEnd: true,
		},
		"limit": {job: runningJob, o: limited, log: "a\nb\n", want: []string{"[start]", "a", "[limit]"}},
		"lost":  {job: endedJob, err: errFake, want: []string{"[start]", "[gap]", "[end]"}},
		"session is over": {
			job: runningJob, log: "a\n", while: func(_ *testing.T, tl *Tail) { tl.Stop(ErrSessionOver) },
			want: []string{"[start]", "a", "[gap]", "[end]"},
		},
		"run was replaced": {
			job: runningJob, log: "a\n", while: func(_ *testing.T, tl *Tail) { tl.Stop(ErrRunReplaced) },
			want: []string{"[start]", "a", "[end]"},
		},
		"end is written already": {
			job:    endedJob,
			before: func(_ *Tail, l *checkpoint.Log) { l.Begun, l.Done, l.Run = true, true, endedJob },
		},
		"reopened": {
			job: endedJob, log: "a\n",
			before: func(tl *Tail, l *checkpoint.Log) { l.Begun, l.Done, l.Run = true, true, endedJob; tl.Reopen() },
			want:   []string{"[reopened]", "a", "[end]"}, atEnd: true,
		},
		"pending events are written": {
			job: endedJob,
			before: func(_ *Tail, l *checkpoint.Log) {
				l.Begun, l.Run = true, endedJob
				l.Pending = []checkpoint.PendingEvent{{Event: "end", Record: []byte(`{"event":"end"}` + "\n")}}
			},
			want: []string{"[end]"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := &fakeRay{job: tt.job, log: tt.log, err: tt.err}
				if tt.job.Status == ray.JobPending {
					fake.job = endedJob
				}
				h := newHarness(t, tt.job, fake, tt.o)
				tl := New(h.cl, h.slots, "session_1", tt.job, h.p.log)
				if tt.before != nil {
					tt.before(tl, h.p.log)
				}
				go tl.Run(t.Context())
				if tt.while != nil {
					synctest.Wait()
					tt.while(t, tl)
				}
				<-tl.Done()
				if atEnd, _ := tl.ReadToEnd(); atEnd != tt.atEnd {
					t.Errorf("read to the end: %v, want %v", atEnd, tt.atEnd)
				}
				var got []string
				for _, r := range h.records() {
					text := r.Message
					if r.Event != "" {
						text = "[" + r.Event + "]"
					}
					got = append(got, text)
				}
				if !slices.Equal(got, tt.want) {
					t.Errorf("records %q, want %q", got, tt.want)
				}
			})
		})
	}
}

// A tail whose context ends writes no last records: the next process continues it.
func TestTail_ContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, runningJob, &fakeRay{job: runningJob, log: "a\n"}, Options{})
		tl := New(h.cl, h.slots, "session_1", runningJob, h.p.log)
		ctx, cancel := context.WithCancel(t.Context())
		go tl.Run(ctx)
		synctest.Wait()
		if s := tl.Status(); s.Transport != "node_agent" || s.State != "reading" || s.Error != "" {
			t.Errorf("status %+v, want a read over node_agent", s)
		}
		cancel()
		<-tl.Done()
		h.wantLines("a")
		if h.p.log.Done {
			t.Error("the log is done")
		}
	})
}

func TestTail_Status(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := &fakeRay{job: runningJob, log: "a\n", err: &ray.Error{Op: "read log", Code: 404, Status: 404, Detail: "no such file"}}
		h := newHarness(t, runningJob, fake, Options{})
		tl := New(h.cl, h.slots, "session_1", runningJob, h.p.log)
		go tl.Run(t.Context())
		<-time.After(time.Minute)
		if s := tl.Status(); s.Error == "" || !tl.LastRead().Before(time.Now().Add(-50*time.Second)) {
			t.Errorf("status %+v after a minute of failed reads, want an error", s)
		}
		tl.Stop(ErrSessionOver)
		<-tl.Done()
		if s := tl.Status(); s.Error != "" {
			t.Errorf("status %+v after the end, want no error", s)
		}
	})
}

func TestTail_Close(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, runningJob, &fakeRay{job: runningJob}, Options{})
		tl := New(h.cl, h.slots, "session_1", runningJob, h.p.log)
		tl.Close(t.Context(), ErrRunReplaced)
		select {
		case <-tl.Done():
		default:
			t.Error("not done after Close")
		}
		if recs := h.records(); len(recs) != 1 || recs[0].Event != "end" {
			t.Errorf("records %+v, want the end event", recs)
		}
	})
}

func TestTail_Replaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := &fakeRay{job: runningJob, log: "a\nb\n"}
		h := newHarness(t, runningJob, fake, Options{})
		tl := New(h.cl, h.slots, "session_1", runningJob, h.p.log)
		go tl.Run(t.Context())
		synctest.Wait()
		fake.setText("another log\n")
		<-time.After(time.Minute)
		tl.Stop(ErrRunReplaced)
		<-tl.Done()
		var got []string
		for _, r := range h.records() {
			got = append(got, fmt.Sprintf("%d/%s%s", r.Epoch, r.Event, map[bool]string{true: r.Message}[r.Event == ""]))
		}
		if want := []string{"0/start", "0/a", "0/b", "0/gap", "1/epoch", "1/another log", "1/end"}; !slices.Equal(got, want) {
			t.Errorf("records %q, want %q", got, want)
		}
	})
}

func TestTail_GrewAfterEnd(t *testing.T) {
	noAgent := endedJob
	noAgent.DriverAgentURL = ""
	long := strings.Repeat("0123456789 a line of a long log\n", 3000)
	for name, tt := range map[string]struct {
		job    ray.Job
		change func(*fakeRay)
		read   func(*source) reader
		log    string
	}{
		"node agent":      {job: endedJob, read: func(s *source) reader { return &nodeAgentReader{source: s} }, log: "a\n"},
		"node agent down": {job: endedJob, read: func(s *source) reader { return &nodeAgentReader{source: s} }, change: func(f *fakeRay) { f.agentErr = errFake }, log: "a\n"},
		"file":            {job: noAgent, read: func(s *source) reader { return &fileReader{source: s} }, log: "a\n"},
		"file, repeated":  {job: noAgent, read: func(s *source) reader { return &fileReader{source: s} }, log: long},
		"text":            {job: noAgent, read: func(s *source) reader { return &textReader{s} }, change: func(f *fakeRay) { f.support.NoFile = true }, log: "a\n"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := &fakeRay{job: tt.job, log: tt.log}
				h := newHarness(t, tt.job, fake, Options{})
				if err := h.readAll(tt.read(h.source)); !errors.Is(err, errComplete) {
					t.Fatal(err)
				}
				if tt.change != nil {
					tt.change(fake)
				}
				tl := New(h.cl, h.slots, "session_1", tt.job, h.p.log)
				for more, want := range map[string]bool{"": false, "\n": false, "b\n": true, "b": true} {
					fake.setText(tt.log + more)
					if grew, err := tl.GrewAfterEnd(t.Context()); err != nil || grew != want {
						t.Errorf("grew by %q: %v, %v, want %v", more, grew, err, want)
					}
				}
			})
		})
	}
	t.Run("messages", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := &fakeAgent{fakeRay: &fakeRay{job: endedJob, log: "a\n"}, end: io.EOF}
			h := newAgentHarness(t, f, Options{})
			tl := New(h.cl, h.slots, "session_1", endedJob, h.p.log)
			tl.Run(t.Context())
			if grew, err := tl.GrewAfterEnd(t.Context()); err != nil || grew {
				t.Errorf("grew: %v, %v, want false", grew, err)
			}
			f.setText("a\nb\n")
			if grew, err := tl.GrewAfterEnd(t.Context()); err != nil || !grew {
				t.Errorf("grew: %v, %v, want true", grew, err)
			}
			f.setText("x\n")
			if _, err := tl.GrewAfterEnd(t.Context()); !errors.Is(err, errSnapshotIncomplete) {
				t.Errorf("error %v of another log, want %v", err, errSnapshotIncomplete)
			}
		})
	})
}
