package cli

import (
	"context"
	"errors"
	"time"

	"raytap/ray"
)

// errPollTimeout is returned by poll after its timeout.
var errPollTimeout = errors.New("timeout")

// poll calls check at an interval until it returns true, or an error that is not
// temporary. It returns errPollTimeout after the timeout; 0 is no timeout.
func poll(ctx context.Context, interval, timeout time.Duration, check func(context.Context) (done bool, err error)) error {
	wait, stop := ctx, context.CancelFunc(func() {})
	if timeout > 0 {
		wait, stop = context.WithTimeout(ctx, timeout)
	}
	defer stop()
	for {
		done, err := check(wait)
		switch {
		case err == nil && done:
			return nil
		case err != nil && !ray.IsTemporary(err) && wait.Err() == nil:
			return err
		}
		select {
		case <-time.After(interval):
		case <-wait.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return errPollTimeout
		}
	}
}
