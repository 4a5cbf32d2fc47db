package tail

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"raytap/lines"
	"raytap/ray"
	"raytap/shipper/aggregate"
	"raytap/shipper/checkpoint"
	"raytap/shipper/convert"
)

func TestPipeline_DropRestoresSkipped(t *testing.T) {
	p := &pipeline{Pipeline: &convert.Pipeline{Skipped: 5}, log: &checkpoint.Log{State: checkpoint.State{Skipped: 2}}} // three lines after the position
	p.drop()
	if p.Skipped != 2 {
		t.Errorf("%d lines skipped after drop, want 2: the others are read again", p.Skipped)
	}
}

func TestPipeline_Metadata(t *testing.T) {
	cl := testCluster(t, Options{Cluster: "prod", Record: RecordOptions{Metadata: []string{"owner", "absent"}}})
	j := newJob(cl, "session_1", ray.Job{SubmissionID: "raysubmit_1", Metadata: map[string]string{"owner": "a", "other": "b", "job_name": "train"}})
	p := &pipeline{Pipeline: &convert.Pipeline{}, cl: cl, job: j, log: &checkpoint.Log{}}
	p.setEncoder()
	got := string(p.Enc.AppendLine(nil, 1e18, lines.Line{Text: []byte("x"), Size: 1}, 0))
	if !strings.Contains(got, `"job_name":"train"`) || !strings.HasSuffix(got, `,"metadata":{"owner":"a"}}`+"\n") {
		t.Errorf("got %s, want the configured metadata keys", got)
	}
}

// text returns a record in short: seq, skipped lines, and the message or event.
func (r testRecord) text() string {
	s := fmt.Sprintf("%d+%d %s", r.Seq, r.Skipped, r.Message)
	if r.Event != "" {
		s = fmt.Sprintf("%d+%d [%s]", r.Seq, r.Skipped, r.Event)
	}
	if r.Truncated {
		s += fmt.Sprintf("… of %d", r.Bytes)
	}
	return s
}

func TestPipeline_Bytes(t *testing.T) {
	type row struct {
		o      Options
		log    func(*checkpoint.Log) // before
		chunks []string
		flush  func(*harness) error // at the end; nil: flush
		err    error
		want   []string
		lines  uint64 // before the position
		size   uint64 // content bytes before the position
		after  time.Duration
	}
	partial := func(h *harness) error { return h.p.FlushPartial(h.t.Context()) }
	pending := func(h *harness) error {
		return errors.Join(h.p.FlushPending(h.t.Context()), h.p.Flush(h.t.Context()))
	}
	drop := func(h *harness) error { h.p.drop(); return nil }
	for name, tt := range map[string]row{
		"lines":              {chunks: []string{"a\nb", "b\n\nc\n"}, want: []string{"0+0 a", "1+0 bb", "2+0 c"}, lines: 3, size: 4},
		"partial line":       {chunks: []string{"a\npart"}, want: []string{"0+0 a"}, lines: 1, size: 1},
		"partial line, last": {chunks: []string{"a\npart"}, flush: partial, want: []string{"0+0 a", "1+0 part"}, lines: 2, size: 5},
		"dropped":            {chunks: []string{"a\nb\n"}, flush: drop},

		"max_lines, stop": {o: Options{Limits: Limits{MaxLines: 2}}, chunks: []string{"a\nb\nc\nd\n"}, err: errLimited, want: []string{"0+0 a", "1+0 b", "2+0 [limit]"}, lines: 2, size: 2},
		"max_bytes, stop": {o: Options{Limits: Limits{MaxBytes: 5}}, chunks: []string{"abc\nde\nf\n"}, err: errLimited, want: []string{"0+0 abc", "1+0 de", "2+0 [limit]"}, lines: 2, size: 5},
		"max_lines, pause": {
			o: Options{Limits: Limits{MaxLines: 2, Interval: time.Minute, Pause: true}}, chunks: []string{"a\nb\nc\n"},
			want: []string{"0+0 a", "1+0 b", "2+0 [limit]", "2+0 c"}, lines: 3, size: 3, after: time.Minute,
		},
		"lines read again do not count": {
			o: Options{Limits: Limits{MaxLines: 1}}, log: func(l *checkpoint.Log) { l.Admitted = 2 }, chunks: []string{"a\nb\nc\nd\n"},
			err: errLimited, want: []string{"0+0 a", "1+0 b", "2+0 c", "3+0 [limit]"}, lines: 3, size: 3,
		},

		"max_lines, stop, at the last line": {o: Options{Limits: Limits{MaxLines: 1}}, chunks: []string{"a\npart"}, flush: partial, err: errLimited, want: []string{"0+0 a", "1+0 [limit]"}, lines: 1, size: 1},

		"oversized, truncate":     {o: Options{Limits: Limits{MaxMessageSize: 4}}, chunks: []string{"abc", "defgh\nabcd\n"}, want: []string{"0+0 abcd… of 8", "1+0 abcd"}, lines: 2, size: 12},
		"oversized, drop":         {o: Options{Limits: Limits{MaxMessageSize: 4, DropOversized: true}}, chunks: []string{"abc", "defgh\nabcd\n"}, want: []string{"1+1 abcd"}, lines: 2, size: 12},
		"oversized, nothing else": {o: Options{Limits: Limits{MaxMessageSize: 4, DropOversized: true}}, chunks: []string{"abcdefgh\n"}, lines: 1, size: 8},

		"in the sink already": {log: func(l *checkpoint.Log) { l.Written = map[uint64]uint64{0: 2} }, chunks: []string{"a\nb\nc\n"}, want: []string{"2+0 c"}, lines: 3, size: 3},
		"in the sink already, another epoch": {
			log: func(l *checkpoint.Log) { l.Written = map[uint64]uint64{1: 2} }, chunks: []string{"a\n"}, want: []string{"0+0 a"}, lines: 1, size: 1,
		},
		"in the sink already, multiline": {
			o: Options{Aggregate: aggregate.Options{Multiline: true}}, log: func(l *checkpoint.Log) { l.Written = map[uint64]uint64{0: 1} },
			chunks: []string{"a\nb\n  c\nd\n"}, flush: pending, want: []string{"1+0 b\n  c", "3+0 d"}, lines: 4, size: 6,
		},

		"no multiline":           {chunks: []string{"a\n  b\nc\n"}, want: []string{"0+0 a", "1+0   b", "2+0 c"}, lines: 3, size: 5},
		"multiline, one pending": {o: Options{Aggregate: aggregate.Options{Multiline: true}}, chunks: []string{"a\n  b\nc\n"}, want: []string{"0+0 a\n  b"}, lines: 2, size: 4},
		"multiline, flushed":     {o: Options{Aggregate: aggregate.Options{Multiline: true}}, chunks: []string{"a\n  b\nc\n"}, flush: pending, want: []string{"0+0 a\n  b", "2+0 c"}, lines: 3, size: 5},
		"progress": {
			o: Options{Aggregate: aggregate.Options{Progress: time.Hour}}, chunks: []string{"1%\r2%\r3%\ndone\n"}, flush: pending,
			want: []string{"0+0 1%", "2+1 3%", "3+0 done"}, lines: 4, size: 10,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t, runningJob, noAPI{}, tt.o)
				p, begun := h.p, time.Now()
				if tt.log != nil {
					tt.log(p.log)
				}
				p.begin(lines.NewSplitter(h.cl.opts.Limits.MaxMessageSize, 0))
				var err error
				for _, chunk := range tt.chunks {
					p.Now = time.Now().UnixNano()
					if err = p.SplitLines(t.Context(), []byte(chunk)); err != nil {
						break
					}
				}
				if took := time.Since(begun); took.Round(time.Second) != tt.after {
					t.Errorf("took %v, want %v", took, tt.after)
				}
				if tt.flush == nil {
					tt.flush = func(h *harness) error { return h.p.Flush(h.t.Context()) }
				}
				flushed := tt.flush(h)
				if err == nil {
					err, flushed = flushed, nil
				}
				if !errors.Is(err, tt.err) || flushed != nil {
					t.Fatalf("error %v, and %v after it; want %v, and none", err, flushed, tt.err)
				}
				if pos := p.log.Pos; pos.Lines != tt.lines || pos.Content != tt.size {
					t.Errorf("position after %d lines and %d bytes, want %d and %d", pos.Lines, pos.Content, tt.lines, tt.size)
				}
				if p.log.Done != (tt.err != nil) {
					t.Errorf("log done: %v", p.log.Done)
				}
				p.drop()
				var got []string
				for _, r := range h.records() {
					got = append(got, r.text())
				}
				if !slices.Equal(got, tt.want) {
					t.Errorf("records %q, want %q", got, tt.want)
				}
			})
		})
	}
}

func TestPipeline_MaxMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, runningJob, noAPI{}, Options{Limits: Limits{MaxMessages: 2}})
		in := h.p.replay(WebSocket)
		if err := in.writeMessages(t.Context(), []byte("a\nb\n"), 2); err != nil {
			t.Fatal(err)
		}
		if err := in.writeMessages(t.Context(), []byte("c\n"), 1); !errors.Is(err, errLimited) {
			t.Errorf("error %v after the third message, want %v", err, errLimited)
		}
		h.wantLines("a", "b", "c")
	})
}

func TestIngester_Verifies(t *testing.T) {
	for name, tt := range map[string]struct {
		again string
		err   error
		want  []string
	}{
		"same log":      {"a\nb\nc\n", nil, []string{"a", "b", "c"}},
		"replaced":      {"x\nb\nc\n", errReplaced, []string{"a", "b"}},
		"only replayed": {"a\nb\n", nil, []string{"a", "b"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t, runningJob, noAPI{}, Options{})
				if err := h.p.replay(WebSocket).readAll(t.Context(), strings.NewReader("a\nb\n")); err != nil {
					t.Fatal(err)
				}
				h.p.drop()
				h.p.progress.grew = false
				in := h.p.replay(WebSocket)
				if err := in.readAll(t.Context(), strings.NewReader(tt.again)); !errors.Is(err, tt.err) {
					t.Errorf("error %v, want %v", err, tt.err)
				}
				if grew := len(tt.want) > 2; h.p.progress.grew != grew {
					t.Errorf("new content: %v, want %v", h.p.progress.grew, grew)
				}
				h.p.drop()
				h.wantLines(tt.want...)
			})
		})
	}
}
