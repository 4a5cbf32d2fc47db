package tail

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"raytap/shipper/clock"
	"raytap/shipper/writer"

	"github.com/cenkalti/backoff/v4"

	"raytap/ray"
)

// retry is what the reads of one tail have come to.
type retry struct {
	backoff *backoff.ExponentialBackOff
	max     time.Duration
	lost    lostWatch
}

func newRetry(o *Options) *retry {
	return &retry{max: o.BackoffMax, backoff: backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(o.BackoffInitial),
		backoff.WithMaxInterval(o.BackoffMax),
		backoff.WithMaxElapsedTime(0), // never stop
	)}
}

// slotPause returns how long to wait for a free slot.
func (r *retry) slotPause() time.Duration { return r.max/2 + rand.N(r.max) }

// endsTail reports whether a read's error ends the tail.
func endsTail(err error) bool {
	for _, last := range []error{errComplete, errNotStarted, errUnproven, errLost, errLimited, writer.ErrClosed} {
		if errors.Is(err, last) {
			return true
		}
	}
	return false
}

// triesToLose is how many tries in a row have to fail, over the time that is allowed,
// before a log is given up.
const triesToLose = 5

// lostWatch decides when a log is out of reach for good. It counts time in which the log
// was tried, by the monotonic clock, not time that passed: a process that was stopped has
// tried nothing.
type lostWatch struct {
	fails   int
	read    time.Time       // the last successful read that it knows of
	failing clock.AwakeTime // since then
	over    clock.AwakeTime // since then and since the end of the run was known
	pause   time.Duration   // until the next try, as it was planned
}

// check takes the failure of a read. errLost: no more reads.
func (l *lostWatch) check(ctx context.Context, t *Tail, err error, now time.Time) error {
	if errors.Is(err, errNoSlot) || errors.Is(err, ray.ErrTransportNotAllowed) {
		return nil // nothing was requested
	}
	if read := t.health.lastRead.Get(); !read.Equal(l.read) {
		l.read, l.failing, l.over = read, clock.AwakeTime{Last: read}, clock.AwakeTime{Last: read}
	}
	if t.p.progress.grew || errors.Is(err, errBetterTransport) || errors.Is(err, errRunEnded) || errors.Is(err, writer.ErrMemoryPressure) {
		l.fails = 0
		return nil
	}
	l.fails++
	opts := &t.cl.opts
	expected := l.pause + opts.Timeout
	l.failing.Step(now, expected)
	over := t.job.terminalAt.IsSet()
	if over {
		if at := t.job.terminalAt.Get(); l.over.Last.Before(at) {
			l.over.Last = at
		}
		l.over.Step(now, expected)
	}
	if l.over.Sum >= opts.LostAfter && l.over.Steps >= triesToLose {
		return fmt.Errorf("%w: no transport has read it for %s since the job's end, in %d tries: %v", errLost, l.over.Sum.Round(time.Second), l.over.Steps, err)
	}
	if errors.Is(err, errUnreadable) && over {
		return fmt.Errorf("%w: %v", errLost, err)
	}
	// Each transport had its turn, and the node is known to be gone.
	if l.fails > len(t.selector.candidates(t.conditions(now))) && l.failing.Sum > opts.GracePeriod && t.nodeDead(ctx) {
		return fmt.Errorf("%w: its node is dead: %v", errLost, err)
	}
	return nil
}

// nodeDead reports whether Ray lists the log's node as dead.
func (t *Tail) nodeDead(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, t.cl.opts.Timeout)
	defer cancel()
	nodes, err := t.cl.lists.Nodes(ctx)
	if err != nil {
		return false
	}
	for _, n := range nodes {
		if n.ID == t.p.log.Node {
			return n.State == ray.NodeDead
		}
	}
	return false
}
