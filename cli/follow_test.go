package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"raytap/ray"
)

func lines(texts ...string) []ray.TailLine {
	var out []ray.TailLine
	for _, s := range texts {
		out = append(out, ray.TailLine{Text: s, Bytes: len(s)})
	}
	return out
}

func TestAFollowEndsAsItsJob(t *testing.T) {
	limit := &ray.Error{Op: "tail job", Code: 429, Detail: "more than 2 lines"}
	for name, tt := range map[string]struct {
		job     ray.Job
		tail    []ray.TailLine
		err     error
		last    int
		out     string
		stderr  string
		failure string // "": none; what Explain says
		code    int
	}{
		"succeeded": {
			job: ray.Job{Status: ray.JobSucceeded, DriverExitCode: ptr(0)}, tail: lines("a", "b"), last: -1,
			out: "a\nb\n", stderr: "raytap: the job j: SUCCEEDED; its driver exited with 0\n",
		},
		"failed": {
			job: ray.Job{Status: ray.JobFailed, DriverExitCode: ptr(3), ErrorType: "JOB_ENTRYPOINT_COMMAND_ERROR"}, tail: lines("a"), last: -1,
			out: "a\n", stderr: "raytap: the job j: FAILED; its driver exited with 3 (JOB_ENTRYPOINT_COMMAND_ERROR)\n", code: 500,
		},
		"stopped": {
			job: ray.Job{Status: ray.JobStopped}, last: -1, stderr: "raytap: the job j: STOPPED\n", code: 500,
		},
		"ended by a limit, after what came before": {
			job: ray.Job{Status: ray.JobRunning}, tail: lines("a", "b"), err: limit, last: -1,
			out: "a\nb\n", failure: "tail job: 429 more than 2 lines", code: 429,
		},
		"a line that was cut": {
			job: ray.Job{Status: ray.JobSucceeded}, tail: []ray.TailLine{{Text: "aaaa", Truncated: true, Bytes: 9}}, last: -1,
			out: "aaaa\n", stderr: "raytap: line 1 was cut: 4 of its 9 bytes are shown (--max-message-size)\nraytap: the job j: SUCCEEDED\n",
		},
		"from the last line on": {
			job: ray.Job{Status: ray.JobSucceeded}, tail: lines("one", "two", "three", "new"), last: 1,
			out: "three\nnew\n", stderr: "raytap: the job j: SUCCEEDED\n",
		},
		"from the end on": {
			job: ray.Job{Status: ray.JobSucceeded}, tail: lines("one", "two", "three", "new"), last: 0,
			out: "new\n", stderr: "raytap: the job j: SUCCEEDED\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScreen("")
			tt.job.SubmissionID = "j"
			f := &fake{jobs: []ray.Job{tt.job}, tail: tt.tail, tailErr: tt.err, log: "one\r\n\ntwo\rthree"}
			err := follow(context.Background(), f, "j", ray.DefaultTailOptions(), tt.last, s.Console)
			s.want(t, tt.out, tt.stderr)
			if ray.Code(err) != tt.code {
				t.Errorf("error %v, want code %d", err, tt.code)
			}
			if err != nil && Explain(err) != tt.failure {
				t.Errorf("explained as %q, want %q", Explain(err), tt.failure)
			}
		})
	}
}

func TestAFollowWaitsForAClusterToTellHowTheJobEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScreen("")
		f := &fake{jobs: []ray.Job{{SubmissionID: "j", Status: ray.JobSucceeded}}, tail: lines("a")}
		f.onJob = func(f *fake) {
			f.down = nil
			if f.polls < 4 {
				f.down = &ray.Error{Op: "get job", Code: 503}
			}
		}
		if err := follow(t.Context(), f, "j", ray.DefaultTailOptions(), -1, s.Console); err != nil || f.polls != 4 {
			t.Errorf("%v after %d looks", err, f.polls)
		}
	})
}

func TestALineIsWrittenWhileTheNextIsAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScreen("")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		waiting := make(chan context.Context)
		f := &fake{jobs: []ray.Job{{SubmissionID: "j", Status: ray.JobRunning}}, tail: lines("a"), waiting: waiting}
		done := make(chan error)
		go func() { done <- follow(ctx, f, "j", ray.DefaultTailOptions(), -1, s.Console) }()
		<-waiting
		time.Sleep(2 * flushAfter)
		synctest.Wait()
		s.want(t, "a\n", "")
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		s.want(t, "a\n", "")
	})
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space") }

func TestAFollowThatCannotWriteEnds(t *testing.T) {
	s := newScreen("")
	s.Console.Out = full{}
	f := &fake{jobs: []ray.Job{{SubmissionID: "j", Status: ray.JobSucceeded}}, tail: lines("a", "b")}
	if err := follow(context.Background(), f, "j", ray.DefaultTailOptions(), -1, s.Console); err == nil || !strings.Contains(err.Error(), "no space") {
		t.Errorf("got %v", err)
	}
}

// A job may be silent for hours: what was printed and cannot be written ends a
// follow, and so does a reader that goes.
func TestAFollowOfASilentJobEndsWithItsReader(t *testing.T) {
	for name, change := range map[string]func(*Console) (gone func()){
		"a write that fails": func(c *Console) func() { c.Out = full{}; return func() {} },
		"a reader that goes": func(c *Console) func() {
			gone := make(chan struct{})
			c.Unread = func(ctx context.Context) bool {
				select {
				case <-gone:
					return true
				case <-ctx.Done():
					return false
				}
			}
			return func() { close(gone) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScreen("")
				gone := change(&s.Console)
				waiting := make(chan context.Context)
				f := &fake{jobs: []ray.Job{{SubmissionID: "j", Status: ray.JobRunning}}, tail: lines("a"), waiting: waiting}
				done := make(chan error)
				go func() { done <- follow(t.Context(), f, "j", ray.DefaultTailOptions(), -1, s.Console) }()
				<-waiting
				gone()
				err := <-done
				if err == nil || errors.Is(err, context.Canceled) || Unread(err) != (name == "a reader that goes") {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

func TestAReaderThatGoesIsSeen(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan bool)
	go func() { ended <- readerGone(ctx, writer) }()
	cancel()
	if <-ended {
		t.Error("it counts as gone while it is there")
	}
	go func() { ended <- readerGone(t.Context(), writer) }()
	if _, err := writer.WriteString("unread"); err != nil {
		t.Fatal(err)
	}
	reader.Close()
	if !<-ended {
		t.Error("it is not seen to have gone")
	}
}

func TestTheEndOfALog(t *testing.T) {
	long := strings.Repeat("0123456789", heldLines/15)
	for name, tt := range map[string]struct {
		log  string
		n    int
		want string
	}{
		"fewer lines than asked for": {"a\nb\n", 10, "a\nb\n"},
		"as many":                    {"a\nb\n", 2, "a\nb\n"},
		"more":                       {"a\nb\nc\nd\ne\n", 3, "c\nd\ne\n"},
		"a last line without end":    {"a\nb\nc", 2, "b\nc\n"},
		"none wanted":                {"a\nb\n", 0, ""},
		"an empty log":               {"", 3, ""},
		"empty lines are none":       {"a\n\nb\n\n", 2, "a\nb\n"},
		"states of a progress bar":   {"a\n10%\r50%\r100%\r\n", 2, "50%\n100%\n"},
		"lines longer than is held":  {"x\n" + long + "\r" + long + "\ny", 3, long + "\n" + long + "\ny\n"},
		"one line longer than that":  {"x\n" + long + long + long, 1, long + long + long + "\n"},
		"a long one before them":     {long + long + "\na\nb\n", 2, "a\nb\n"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScreen("")
			if err := printEnd(context.Background(), &fake{log: tt.log}, "j", tt.n, &s.out); err != nil {
				t.Fatal(err)
			}
			if got := s.out.String(); got != tt.want {
				t.Errorf("got %d bytes, want %d: %.80q", len(got), len(tt.want), got)
			}
		})
	}
}

// A log's lines are those of a tail, wherever its bytes are cut.
func FuzzLinesAreCountedAsATailGivesThem(f *testing.F) {
	f.Add("abc\r\nb\n\ncd\ref")
	f.Add("\n\r")
	f.Add("")
	f.Fuzz(func(t *testing.T, log string) {
		want := len(strings.FieldsFunc(log, func(r rune) bool { return r == '\r' || r == '\n' }))
		for _, r := range []io.Reader{strings.NewReader(log), iotest.OneByteReader(strings.NewReader(log)), iotest.HalfReader(strings.NewReader(log)), iotest.DataErrReader(strings.NewReader(log))} {
			if got, err := countLines(r); err != nil || got != want {
				t.Fatalf("%q: %d lines, %v, want %d", log, got, err, want)
			}
		}
	})
}

func TestALogThatBreaksOffIsAnError(t *testing.T) {
	broken := func() io.Reader {
		return io.MultiReader(strings.NewReader("a\nb"), iotest.ErrReader(fmt.Errorf("cut")))
	}
	if _, err := countLines(broken()); err == nil {
		t.Error("it is counted")
	}
	if err := (&lastLines{most: 5}).read(broken()); err == nil {
		t.Error("its end is given")
	}
}
