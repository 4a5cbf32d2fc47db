package tail

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"raytap/ray"
)

// maxSnapshotMismatches is how many snapshots in a row have to lack what was read before the
// log counts as replaced. A stream that has it resets the count.
const maxSnapshotMismatches = 3

// snapshotReader reads a log of messages as a whole, from its first byte on each time: once
// the run is over, and if no stream can be opened.
type snapshotReader struct{ *source }

func (r *snapshotReader) read(ctx context.Context) error {
	idle := r.cl.opts.PollInterval
	for {
		settled := r.job.settled(time.Now())
		if !settled && r.betterAvailable(ctx, Snapshot) {
			return errBetterTransport
		}
		before := r.p.log.Reached
		if err := r.poll(ctx, settled); err != nil {
			return err
		}
		if settled {
			return errComplete
		}
		r.health.success()
		if idle = min(idle*2, fileIdle); r.p.log.Reached > before || r.job.terminalAt.IsSet() {
			idle = r.cl.opts.PollInterval
		}
		if err := r.job.sleep(ctx, idle); err != nil {
			return err
		}
	}
}

// poll reads the whole log and ships new lines. ended: the run is over, so that the last
// line needs no line end.
func (r *snapshotReader) poll(ctx context.Context, ended bool) error {
	defer r.p.drop() // the partial line is read again with the next snapshot
	in, reached, err := r.ingestSnapshot(ctx)
	switch {
	case errors.Is(err, errReplaced), err == nil && in.verifier != nil:
		r.snapshotMismatches++
		if r.snapshotMismatches >= maxSnapshotMismatches {
			return errReplaced
		}
		return errSnapshotIncomplete
	case err != nil:
		return err
	}
	r.snapshotMismatches = 0
	if has := r.p.reached(); has < reached {
		return fmt.Errorf("%w (it has %d bytes, %d were read before)", errSnapshotIncomplete, has, reached)
	}
	return r.p.endRead(ctx, ended)
}

// ingestSnapshot reads a snapshot, and returns how many content bytes were read before it.
func (s *source) ingestSnapshot(ctx context.Context) (in *ingester, reached uint64, err error) {
	body, release, err := s.openSnapshot(ctx, s.p.log.Pos.Content)
	if err != nil {
		return nil, 0, err
	}
	defer release()
	in, reached = s.p.replay(Snapshot), s.p.log.Reached
	return in, reached, in.readAll(ctx, body)
}

// textReader reads a log of bytes as a whole, from its first byte on each time: if a Ray has
// no file API, once the run is over, and if neither the node agent nor a WebSocket can be
// used. A read that begins when the run is settled reads the log to its end.
type textReader struct{ *source }

func (r *textReader) read(ctx context.Context) error {
	r.cl.warnOnce("text", "This Ray has no file API: each read of a log that its node agent does not serve reads the whole log as text. See docs/old-rays.md", nil)
	idle := r.cl.opts.PollInterval
	for {
		if r.job.terminalAt.IsSet() {
			if err := r.job.waitSettled(ctx); err != nil {
				return err
			}
		}
		settled := r.job.settled(time.Now())
		if !settled && r.betterAvailable(ctx, Snapshot) {
			return errBetterTransport
		}
		if err := r.cl.load.waitFilePoll(ctx); err != nil {
			return err
		}
		before := r.p.log.Reached
		err := onFreshStack(func() error { return r.poll(ctx, settled) })
		switch {
		case settled && (errors.Is(err, ray.ErrNotText) || errors.Is(err, ray.ErrTooLarge)):
			return r.withoutText(ctx, err)
		case err != nil:
			return err
		case settled:
			return errComplete
		}
		r.health.success()
		if idle = min(idle*2, fileIdle); r.p.log.Reached > before {
			idle = r.cl.opts.PollInterval
		}
		if err := r.job.sleep(ctx, idle); err != nil {
			return err
		}
	}
}

// poll reads the whole log and ships new lines. ended: the run is over, so that the last
// line needs no line end.
func (r *textReader) poll(ctx context.Context, ended bool) error {
	defer r.p.drop() // the partial line is read again with the next snapshot
	in, reached, err := r.ingestSnapshot(ctx)
	if err != nil {
		return err
	}
	switch {
	case in.verifier != nil && in.verifier.Content() == 0: // Ray returns an empty text if there is no file, too
		return &ray.Error{Op: "read log as text", Code: http.StatusNotFound, Detail: "the text is empty, but the log was not before"}
	case in.verifier != nil:
		return endsEarly()
	}
	if has := r.p.reached(); has < reached {
		return fmt.Errorf("the text of the log is incomplete: it has %d bytes, %d were read before", has, reached)
	}
	return r.p.endRead(ctx, ended)
}

// withoutText decides what follows if the run is over and its log cannot be read as text:
// if a WebSocket may be opened, the log is read over it once more.
func (r *textReader) withoutText(ctx context.Context, why error) error {
	tail := &r.selector.transports[WebSocket]
	stuck := errors.Is(why, ray.ErrNotText) && tail.ends > 0 && tail.lastAt == r.p.log.Pos.Content
	r.selector.textErr = why
	list := r.selector.candidates(r.conditions(time.Now()))
	switch {
	case list[len(list)-1] == WebSocket && !stuck && plainID.MatchString(r.job.current().SubmissionID):
		return errRunEnded
	case !r.agentRefused(ctx):
		r.selector.textErr = nil
		return why // the node agent can read the log when it answers again
	}
	return fmt.Errorf("%w: only the node agent could read it, and it must not be used: %v", errLost, why)
}
