package shipper

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"raytap/ray"
)

// errUnproven: all that can be read was read, and nothing tells that it is all.
var errUnproven = errors.New("the end of the log cannot be proven")

func refusedWay(err error) bool { return errors.Is(err, ray.ErrTransportNotAllowed) }

// followText reads the log as one text, from its first byte each time: where a Ray
// gives no files, to read what is left once the run is over, and where there is no
// tail and no node agent. One read that begins when the run is over, and has had
// its time to print, tells the end.
func (s *stream) followText(ctx context.Context) error {
	s.sh.warnOnce("text", "Ray "+s.sh.logWays(time.Now()).Ray+" gives no log files: a log that its node's agent does not give is read as a whole, as text, each time. See docs/old-rays.md")
	idle := s.sh.opts.PollInterval
	for {
		if s.terminalAt.isSet() {
			if err := s.awaitDue(ctx); err != nil {
				return err
			}
		}
		due := s.due(time.Now())
		if !due && s.better(ctx, wayWhole) {
			return errBetter
		}
		if err := s.turn(ctx); err != nil {
			return err
		}
		before := s.log.reached
		err := aside(func() error { return s.pollText(ctx, due) })
		switch {
		case due && (errors.Is(err, ray.ErrNotText) || errors.Is(err, ray.ErrTooLarge)):
			return s.withoutText(ctx, err)
		case err != nil:
			return err
		case due:
			return errComplete
		}
		s.readable()
		if idle = min(idle*2, fileIdle); s.log.reached > before {
			idle = s.sh.opts.PollInterval
		}
		if err := s.rest(ctx, idle); err != nil {
			return err
		}
	}
}

// pollText reads the whole log and takes what is new. over tells that the run has
// ended, so that a last line needs no line end.
func (s *stream) pollText(ctx context.Context, over bool) error {
	defer s.drop() // the half line is read again with the next answer
	body, release, err := s.openWhole(ctx, s.log.pos.content)
	if err != nil {
		return err
	}
	defer release()
	var p *prover
	if s.log.pos.content > 0 {
		p = proveAll(s.log.pos, unknown)
	}
	f := s.newFeeder(ctx, wayWhole, p, unknown)
	reached := s.log.reached
	if err := f.readAll(ctx, body); err != nil {
		return err
	}
	switch {
	case f.p != nil && f.p.content == 0: // so Ray tells that there is no file, too
		return &ray.Error{Op: "read log as text", Code: http.StatusNotFound, Detail: "the text is empty, and more was read before"}
	case f.p != nil:
		return fmt.Errorf("%w: it ends before the last line read", errReplaced)
	}
	if has := s.cut.content + uint64(s.cut.partSize); has < reached {
		return fmt.Errorf("the text of the log has %d bytes, and %d were seen", has, reached)
	}
	return s.finishRead(ctx, over)
}

// withoutText decides what becomes of a log whose run is over and that cannot be
// had as text: what a tail gives of it, if one may be opened, is read once more.
func (s *stream) withoutText(ctx context.Context, why error) error {
	tail := &s.ways[wayWebSocket]
	stuck := errors.Is(why, ray.ErrNotText) && tail.ends > 0 && tail.lastAt == s.log.pos.content
	s.textless = why
	switch {
	case s.ladder(time.Now())[len(s.ladder(time.Now()))-1] == wayWebSocket && !stuck && plainID.MatchString(s.current().SubmissionID):
		return errOver
	case !s.agentRefused(ctx):
		s.textless = nil
		return why // the node's agent may answer again, and it can read the log
	}
	return fmt.Errorf("%w: only the node's agent could read the rest of it, and must not be asked: %v", errLost, why)
}

// tailOver decides what the end of a tail means, now that the run is over.
func (s *stream) tailOver(ctx context.Context, end error) error {
	if err := s.awaitDue(ctx); err != nil {
		return err
	}
	switch {
	case !s.sh.logWays(time.Now()).NoFile:
		return s.tailProven(ctx, end)
	case s.textless == nil:
		return errOver // the whole log as text tells
	case !errors.Is(end, errEnded):
		return end // a connection that broke says nothing of the log
	case s.cut == nil:
		return fmt.Errorf("%w: a tail does not give what was read before: %v", errLost, s.textless)
	case errors.Is(s.textless, ray.ErrNotText):
		return fmt.Errorf("%w: only the node's agent could read the rest of it: %v", errLost, s.textless)
	}
	if err := s.lastLine(ctx); err != nil {
		return err
	}
	return fmt.Errorf("%w: %v", errUnproven, s.textless)
}
