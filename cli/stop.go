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

// stopPoll is the interval at which a job that is being stopped is polled.
const stopPoll = time.Second

// stopOptions are the flags of jobs stop.
type stopOptions struct {
	yes     bool          // without a confirmation
	wait    bool          // until it has ended
	timeout time.Duration // of wait; 0 is no limit
}

// stopJob stops a job after a confirmation. A job that has already ended is not an
// error.
func stopJob(ctx context.Context, c jobStopper, id string, o stopOptions, console Console) error {
	job, err := c.Job(ctx, id)
	if err != nil {
		return err
	}
	name := printable(job.Key(), true)
	if job.Status.Terminal() {
		console.infof("job %s has already ended: %s", name, job.Status)
		return nil
	}
	question := "Stop job " + name
	if job.Name() != "" {
		question += " (" + printable(job.Name(), true) + ")"
	}
	question += fmt.Sprintf(", %s", job.Status)
	if !job.Start.IsZero() {
		question += ", submitted " + formatAge(console.now(), job.Start)
	}
	if err := console.confirm(ctx, question+"?", o.yes); err != nil {
		return err
	}
	if err := c.StopJob(ctx, job.Key()); err != nil {
		if now, err2 := c.Job(ctx, job.Key()); err2 == nil && now.Status.Terminal() {
			console.infof("job %s has ended in the meantime: %s", name, now.Status)
			return nil
		}
		return err
	}
	if job.Status == ray.JobPending {
		console.infof("the job is PENDING: Ray may still try to start it")
	}
	if !o.wait {
		console.infof("stop requested for job %s", name)
		return nil
	}
	return waitForEnd(ctx, c, job.Key(), o.timeout, console)
}

// waitForEnd polls a job until it has ended. It retries temporary errors.
func waitForEnd(ctx context.Context, c jobGetter, id string, timeout time.Duration, console Console) error {
	var job ray.Job
	err := poll(ctx, stopPoll, timeout, func(ctx context.Context) (done bool, err error) {
		job, err = c.Job(ctx, id)
		return job.Status.Terminal(), err
	})
	switch {
	case errors.Is(err, errPollTimeout):
		return fmt.Errorf("stop requested, but job %s has not ended within %s (--timeout)", printable(id, true), timeout)
	case err != nil:
		return err
	}
	console.infof("job %s: %s", printable(id, true), job.Status)
	return nil
}
