package shipper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// errUnhelpful: the whole log is not what was read before, which proves nothing:
// an agent may give less than the log.
var errUnhelpful = errors.New("the whole log, as the agent gives it, lacks what was read before")

// unhelpfulMax is how many whole logs in a row that lack what was read make that
// replaced, while no stream says otherwise.
const unhelpfulMax = 3

// followWhole reads the log as one answer, from its first byte each time: to
// read what is left once the run is over, and where no stream can be had.
func (s *stream) followWhole(ctx context.Context) error {
	idle := s.sh.opts.PollInterval
	for {
		due := s.due(time.Now())
		if !due && s.better(ctx, wayWhole) {
			return errBetter
		}
		before := s.log.reached
		if err := s.pollWhole(ctx, due); err != nil {
			return err
		}
		if due {
			return errComplete
		}
		s.readable()
		if idle = min(idle*2, fileIdle); s.log.reached > before || s.terminalAt.isSet() {
			idle = s.sh.opts.PollInterval
		}
		if err := s.rest(ctx, idle); err != nil {
			return err
		}
	}
}

// pollWhole reads the whole log and takes what is new. over tells that the run
// has ended, so that a last line needs no line end.
func (s *stream) pollWhole(ctx context.Context, over bool) error {
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
	err = f.readAll(ctx, body)
	switch {
	case errors.Is(err, errReplaced), err == nil && f.p != nil:
		s.unhelpful++
		if s.unhelpful >= unhelpfulMax {
			return errReplaced
		}
		return errUnhelpful
	case err != nil:
		return err
	}
	s.unhelpful = 0
	if has := s.cut.content + uint64(s.cut.partSize); has < reached {
		return fmt.Errorf("%w: it has %d bytes, and %d were seen", errUnhelpful, has, reached)
	}
	return s.finishRead(ctx, over)
}

// openWhole asks for the whole log, one at a time, and pays for what is read again.
func (s *stream) openWhole(ctx context.Context, again uint64) (body io.ReadCloser, release func(), err error) {
	if err := s.sh.rereadBudget(ctx, again); err != nil {
		return nil, nil, err
	}
	if err := s.sh.whole.Acquire(ctx, 1); err != nil {
		return nil, nil, err
	}
	if s.sh.messages != nil {
		body, err = s.sh.messages.JobLogs(ctx, s.current().SubmissionID)
	} else {
		body, err = s.sh.client.LogText(ctx, s.current().LogRef())
	}
	if err != nil {
		s.sh.whole.Release(1)
		return nil, nil, err
	}
	return body, func() {
		body.Close() //nolint:errcheck // it was read
		s.sh.whole.Release(1)
	}, nil
}

// wholeSize gives the content bytes that the log has now, if it begins with what
// was read.
func (s *stream) wholeSize(ctx context.Context) (uint64, error) {
	body, release, err := s.openWhole(ctx, s.log.pos.content)
	if err != nil {
		return 0, err
	}
	defer release()
	p := proveAll(s.log.pos, unknown)
	rest, err := proveBody(p, body)
	if err == nil && (p.content < s.log.pos.content || !p.proven()) {
		err = errUnhelpful
	}
	return p.content + rest, err
}

// proveBody feeds a body to a prover and gives how many content bytes lie behind
// its position.
func proveBody(p *prover, body io.Reader) (rest uint64, err error) {
	buf := chunks.Get().(*[]byte)
	defer chunks.Put(buf)
	for {
		n, err := body.Read(*buf)
		b, _ := p.feed((*buf)[:n])
		rest += uint64(contentLen(b))
		switch {
		case errors.Is(err, io.EOF):
			return rest, nil
		case err != nil:
			return rest, err
		}
	}
}
