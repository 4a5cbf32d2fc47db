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

func TestFollow_JobResults(t *testing.T) {
	limit := &ray.Error{Op: "tail job", Code: 429, Detail: "more than 2 lines"}
	for name, tt := range map[string]struct {
		job     ray.Job
		tail    []ray.TailLine
		err     error
		last    int
		out     string
		stderr  string
		failure string // the error message; "": none
		code    int
	}{
		"succeeded": {
			job: ray.Job{Status: ray.JobSucceeded, DriverExitCode: ptr(0)}, tail: lines("a", "b"), last: -1,
			out: "a\nb\n", stderr: "raytap: job j: SUCCEEDED, driver exit code 0\n",
		},
		"failed": {
			job: ray.Job{Status: ray.JobFailed, DriverExitCode: ptr(3), ErrorType: "JOB_ENTRYPOINT_COMMAND_ERROR"}, tail: lines("a"), last: -1,
			out: "a\n", stderr: "raytap: job j: FAILED, driver exit code 3 (JOB_ENTRYPOINT_COMMAND_ERROR)\n", code: 500,
		},
		"stopped": {
			job: ray.Job{Status: ray.JobStopped}, last: -1, stderr: "raytap: job j: STOPPED\n", code: 500,
		},
		"a limit is exceeded": {
			job: ray.Job{Status: ray.JobRunning}, tail: lines("a", "b"), err: limit, last: -1,
			out: "a\nb\n", failure: "tail job: 429 more than 2 lines", code: 429,
		},
		"a truncated line": {
			job: ray.Job{Status: ray.JobSucceeded}, tail: []ray.TailLine{{Text: "aaaa", Truncated: true, Bytes: 9}}, last: -1,
			out: "aaaa\n", stderr: "raytap: line 1 truncated: showing 4 of 9 bytes (--max-message-size)\nraytap: job j: SUCCEEDED\n",
		},
		"--lines 1": {
			job: ray.Job{Status: ray.JobSucceeded}, tail: lines("one", "two", "three", "new"), last: 1,
			out: "three\nnew\n", stderr: "raytap: job j: SUCCEEDED\n",
		},
		"--lines 0": {
			job: ray.Job{Status: ray.JobSucceeded}, tail: lines("one", "two", "three", "new"), last: 0,
			out: "new\n", stderr: "raytap: job j: SUCCEEDED\n",
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
			if err != nil && ErrorMessage(err) != tt.failure {
				t.Errorf("error message %q, want %q", ErrorMessage(err), tt.failure)
			}
		})
	}
}

func TestFollow_RetriesFinalStatus(t *testing.T) {
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
			t.Errorf("%v after %d requests", err, f.polls)
		}
	})
}

func TestFollow_FlushesWhileWaiting(t *testing.T) {
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

func TestFollow_WriteError(t *testing.T) {
	s := newScreen("")
	s.Console.Out = full{}
	f := &fake{jobs: []ray.Job{{SubmissionID: "j", Status: ray.JobSucceeded}}, tail: lines("a", "b")}
	if err := follow(context.Background(), f, "j", ray.DefaultTailOptions(), -1, s.Console); err == nil || !strings.Contains(err.Error(), "no space") {
		t.Errorf("got %v", err)
	}
}

// A job may be silent for hours: a failed write, or a reader that is gone, must end
// the command without another line.
func TestFollow_SilentJob(t *testing.T) {
	for name, change := range map[string]func(*Console) (gone func()){
		"write error": func(c *Console) func() { c.Out = full{}; return func() {} },
		"reader gone": func(c *Console) func() {
			gone := make(chan struct{})
			c.WaitReaderGone = func(ctx context.Context) bool {
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
				if err == nil || errors.Is(err, context.Canceled) || IsReaderGone(err) != (name == "reader gone") {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

func TestWaitReaderGone(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan bool)
	go func() { ended <- waitReaderGone(ctx, writer) }()
	cancel()
	if <-ended {
		t.Error("returned true while the reader exists")
	}
	go func() { ended <- waitReaderGone(t.Context(), writer) }()
	if _, err := writer.WriteString("unread"); err != nil {
		t.Fatal(err)
	}
	reader.Close()
	if !<-ended {
		t.Error("returned false after the reader was closed")
	}
}

func TestTail_LastLines(t *testing.T) {
	long := strings.Repeat("0123456789", maxHeldBytes/15)
	for name, tt := range map[string]struct {
		log  string
		n    int
		want string
	}{
		"fewer lines than requested": {"a\nb\n", 10, "a\nb\n"},
		"exactly as many":            {"a\nb\n", 2, "a\nb\n"},
		"more lines":                 {"a\nb\nc\nd\ne\n", 3, "c\nd\ne\n"},
		"no line end at the end":     {"a\nb\nc", 2, "b\nc\n"},
		"zero lines":                 {"a\nb\n", 0, ""},
		"an empty log":               {"", 3, ""},
		"empty lines":                {"a\n\nb\n\n", 2, "a\nb\n"},
		"states of a progress bar":   {"a\n10%\r50%\r100%\r\n", 2, "50%\n100%\n"},
		"lines too long to hold":     {"x\n" + long + "\r" + long + "\ny", 3, long + "\n" + long + "\ny\n"},
		"one line too long to hold":  {"x\n" + long + long + long, 1, long + long + long + "\n"},
		"a long line before them":    {long + long + "\na\nb\n", 2, "a\nb\n"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScreen("")
			if err := printLastLines(context.Background(), &fake{log: tt.log}, "j", tt.n, &s.out); err != nil {
				t.Fatal(err)
			}
			if got := s.out.String(); got != tt.want {
				t.Errorf("got %d bytes, want %d: %.80q", len(got), len(tt.want), got)
			}
		})
	}
}

// The number of lines does not depend on how reads split the log.
func FuzzCountLines(f *testing.F) {
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

func TestTail_ReadError(t *testing.T) {
	broken := func() io.Reader {
		return io.MultiReader(strings.NewReader("a\nb"), iotest.ErrReader(fmt.Errorf("cut")))
	}
	if _, err := countLines(broken()); err == nil {
		t.Error("countLines: no error")
	}
	if err := (&lastLines{want: 5}).read(broken()); err == nil {
		t.Error("lastLines: no error")
	}
}
