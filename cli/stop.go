package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"raytap/ray"
)

type jobStopper interface {
	jobGetter
	StopJob(ctx context.Context, id string) error
}

// stopPoll is the pause between two looks at a job that is being stopped.
const stopPoll = time.Second

// stopOptions say how a job is stopped.
type stopOptions struct {
	yes     bool          // without a question
	wait    bool          // until it has ended
	timeout time.Duration // of the wait; 0 is none
}

// stopJob stops a job, after a question. A job that has ended is left alone,
// and no error.
func stopJob(ctx context.Context, c jobStopper, id string, o stopOptions, console Console) error {
	job, err := c.Job(ctx, id)
	if err != nil {
		return err
	}
	name := printable(job.Key(), true)
	if job.Status.Terminal() {
		console.notef("the job %s has ended already: %s", name, job.Status)
		return nil
	}
	question := "Stop the job " + name
	if job.Name() != "" {
		question += " (" + printable(job.Name(), true) + ")"
	}
	question += fmt.Sprintf(", %s", job.Status)
	if !job.Start.IsZero() {
		question += ", submitted " + ago(console.now(), job.Start)
	}
	if err := console.confirm(ctx, question+"?", o.yes); err != nil {
		return err
	}
	if err := c.StopJob(ctx, job.Key()); err != nil {
		if now, err2 := c.Job(ctx, job.Key()); err2 == nil && now.Status.Terminal() {
			console.notef("the job %s has ended meanwhile: %s", name, now.Status)
			return nil
		}
		return err
	}
	if job.Status == ray.JobPending {
		console.notef("the job is PENDING: Ray may go on trying to start it")
	}
	if !o.wait {
		console.notef("the job %s is asked to stop", name)
		return nil
	}
	return awaitEnd(ctx, c, job.Key(), o.timeout, console)
}

// awaitEnd looks at a job until it has ended. A cluster that does not answer
// for a while is no reason to give up.
func awaitEnd(ctx context.Context, c jobGetter, id string, timeout time.Duration, console Console) error {
	wait, stop := ctx, context.CancelFunc(func() {})
	if timeout > 0 {
		wait, stop = context.WithTimeout(ctx, timeout)
	}
	defer stop()
	for {
		job, err := c.Job(wait, id)
		switch {
		case err == nil && job.Status.Terminal():
			console.notef("the job %s: %s", printable(id, true), job.Status)
			return nil
		case err != nil && !temporary(err) && wait.Err() == nil:
			return err
		}
		select {
		case <-time.After(stopPoll):
		case <-wait.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("the job %s was asked to stop, and has not ended within %s (--timeout)", printable(id, true), timeout)
		}
	}
}

func temporary(err error) bool {
	var e *ray.Error
	return errors.As(err, &e) && e.Temporary()
}
