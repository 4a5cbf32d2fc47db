package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"

	"raytap/ray"
)

type tailer interface {
	jobGetter
	logReader
	Tail(ctx context.Context, id string, o ray.TailOptions) iter.Seq2[ray.TailLine, error]
}

// finalStatusTimeout limits the retries for the status of a job whose log has ended.
const finalStatusTimeout = time.Minute

// follow prints a job's lines until the job has ended and its log was read to
// the end. last is the number of existing lines to print; negative: all. It
// returns an error if the job did not succeed.
func follow(ctx context.Context, c tailer, id string, o ray.TailOptions, last int, console Console) error {
	parent := ctx
	ctx, fail, release := console.untilReaderGone(ctx)
	defer release()
	err := followLines(ctx, c, id, o, last, console, fail)
	if cause := context.Cause(ctx); cause != nil && parent.Err() == nil {
		return cause // the output cannot be written; the error that this caused does not matter
	}
	if err != nil {
		return err
	}
	showHeadLog(ctx, c, id, console)
	return reportResult(ctx, c, id, console)
}

// followLines prints all lines. It calls fail if one cannot be written.
func followLines(ctx context.Context, c tailer, id string, o ray.TailOptions, last int, console Console, fail context.CancelCauseFunc) error {
	skip, err := linesBefore(ctx, c, id, last)
	if err != nil {
		return err
	}
	out := newFlusher(console.Out, fail)
	defer out.close() // on an early return the first error is the relevant one
	n := 0
	for line, err := range c.Tail(ctx, id, o) {
		if err != nil {
			return err
		}
		if n++; n <= skip {
			continue
		}
		if err := out.line(line.Text); err != nil {
			return err
		}
		if line.Truncated {
			console.infof("line %d truncated: showing %d of %d bytes (--max-message-size)", n, len(line.Text), line.Bytes)
		}
	}
	if err := out.close(); err != nil {
		return err
	}
	return ctx.Err()
}

// linesBefore returns the number of lines before the last ones.
func linesBefore(ctx context.Context, from logReader, id string, last int) (int, error) {
	if last < 0 {
		return 0, nil
	}
	log, err := from.JobLogs(ctx, id)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	n, err := countLines(log)
	return max(0, n-last), err
}

// reportResult prints how a job ended, and returns an error if it did not succeed.
func reportResult(ctx context.Context, from jobGetter, id string, console Console) error {
	job, err := waitForJob(ctx, from, id, finalStatusTimeout)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("job %s: %s", printable(id, true), job.Status)
	if job.DriverExitCode != nil {
		text += fmt.Sprintf(", driver exit code %d", *job.DriverExitCode)
	}
	if job.ErrorType != "" {
		text += " (" + printable(job.ErrorType, true) + ")"
	}
	console.infof("%s", text)
	if job.Status != ray.JobSucceeded {
		return reportedError{fmt.Errorf("%s", text)}
	}
	return nil
}

// waitForJob returns a job. It retries temporary errors until the timeout.
func waitForJob(ctx context.Context, from jobGetter, id string, timeout time.Duration) (ray.Job, error) {
	pause := backoff.NewExponentialBackOff(backoff.WithMaxElapsedTime(timeout))
	return backoff.RetryWithData(func() (ray.Job, error) {
		job, err := from.Job(ctx, id)
		if err != nil && !ray.IsTemporary(err) {
			err = backoff.Permanent(err)
		}
		return job, err
	}, backoff.WithContext(pause, ctx))
}

// flusher buffers lines and writes them after flushAfter at the latest, so that a
// long replay does not need a system call for each line and a new line is not late.
type flusher struct {
	mu      sync.Mutex
	w       *bufio.Writer
	pending *time.Timer // nil if the buffer is empty
	fail    func(error) // called with the error of a delayed write
}

const flushAfter = 20 * time.Millisecond

func newFlusher(w io.Writer, fail func(error)) *flusher {
	return &flusher{w: bufio.NewWriterSize(w, 64<<10), fail: fail}
}

func (f *flusher) line(s string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, _ = f.w.WriteString(s) // the writer remembers its error
	if err := f.w.WriteByte('\n'); err != nil {
		return err
	}
	if f.pending == nil {
		f.pending = time.AfterFunc(flushAfter, f.flush)
	}
	return nil
}

func (f *flusher) flush() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pending = nil
	if err := f.w.Flush(); err != nil {
		f.fail(err) // there may be no next line for a long time
	}
}

// close writes the buffered lines and stops the timer.
func (f *flusher) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pending != nil {
		f.pending.Stop()
		f.pending = nil
	}
	return f.w.Flush()
}
