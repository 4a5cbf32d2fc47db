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

// finalPatience is how long the status of a job whose log has ended is asked
// for while the cluster does not answer.
const finalPatience = time.Minute

// follow prints a job's lines until the job has ended and its log was read to
// the end. last is how many of the lines that are there already are printed;
// less than 0: all. It is an error if the job did not succeed.
func follow(ctx context.Context, c tailer, id string, o ray.TailOptions, last int, console Console) error {
	asked := ctx
	ctx, fail, release := console.whileRead(ctx)
	defer release()
	err := followLines(ctx, c, id, o, last, console, fail)
	if cause := context.Cause(ctx); cause != nil && asked.Err() == nil {
		return cause // the answer cannot be written: what it broke off is no news
	}
	if err != nil {
		return err
	}
	noteHeadLog(ctx, c, id, console)
	return verdict(ctx, c, id, console)
}

// followLines prints the lines until there are no more. It calls fail when one
// cannot be written.
func followLines(ctx context.Context, c tailer, id string, o ray.TailOptions, last int, console Console, fail context.CancelCauseFunc) error {
	skip, err := linesBefore(ctx, c, id, last)
	if err != nil {
		return err
	}
	out := newFlusher(console.Out, fail)
	defer out.close() // where it ends early, its cause says more than this error
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
			console.notef("line %d was cut: %d of its %d bytes are shown (--max-message-size)", n, len(line.Text), line.Bytes)
		}
	}
	if err := out.close(); err != nil {
		return err
	}
	return ctx.Err()
}

// linesBefore counts the lines that are not wanted.
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

// verdict tells how a job ended; one that did not succeed is an error.
func verdict(ctx context.Context, from jobGetter, id string, console Console) error {
	job, err := patientJob(ctx, from, id, finalPatience)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("the job %s: %s", printable(id, true), job.Status)
	if job.DriverExitCode != nil {
		text += fmt.Sprintf("; its driver exited with %d", *job.DriverExitCode)
	}
	if job.ErrorType != "" {
		text += " (" + printable(job.ErrorType, true) + ")"
	}
	console.notef("%s", text)
	if job.Status != ray.JobSucceeded {
		return quiet{fmt.Errorf("%s", text)}
	}
	return nil
}

// patientJob asks for a job until the cluster answers, for a while.
func patientJob(ctx context.Context, from jobGetter, id string, patience time.Duration) (ray.Job, error) {
	pause := backoff.NewExponentialBackOff(backoff.WithMaxElapsedTime(patience))
	return backoff.RetryWithData(func() (ray.Job, error) {
		job, err := from.Job(ctx, id)
		if err != nil && !temporary(err) {
			err = backoff.Permanent(err)
		}
		return job, err
	}, backoff.WithContext(pause, ctx))
}

// flusher gathers lines and writes them at latest flushAfter later, so that a
// long replay does not cost a system call a line and a live line is not late.
type flusher struct {
	mu      sync.Mutex
	w       *bufio.Writer
	pending *time.Timer // nil where nothing waits
	fail    func(error) // is given what a late write met
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
		f.fail(err) // the next line may be long in coming
	}
}

// close writes what waits, and stops the timer.
func (f *flusher) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pending != nil {
		f.pending.Stop()
		f.pending = nil
	}
	return f.w.Flush()
}
