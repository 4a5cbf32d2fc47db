package shipper

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"
)

const (
	// fileIdle is the longest pause between two looks at a silent log.
	fileIdle = time.Minute
	// windowLines is how many lines a window begins with at the most, and windowMax how
	// many it may grow to before the whole log is read.
	windowLines = 256
	windowMax   = 8192
	// windowBytes is how much of a window is held; a larger one is no help.
	windowBytes = 1 << 20
	// smallLog is how many content bytes are rather read again and verified
	// than looked for in a window.
	smallLog = 64 << 10
)

// followFile reads the log from the dashboard's State API. That knows no
// offset, so a poll asks for the last lines and looks for the position in them.
func (s *stream) followFile(ctx context.Context) error {
	idle := s.sh.opts.PollInterval
	lines := s.windowFor(windowBytes / 8)
	for {
		// Not behind the turn: where many wait for theirs, each would give its own away.
		if s.better(ctx, wayFile) {
			return errBetter
		}
		if err := s.turn(ctx); err != nil {
			return err
		}
		due := s.due(time.Now())
		before := s.log.reached
		atEnd := false
		err := aside(func() (err error) {
			atEnd, err = s.pollFile(ctx, &lines, due)
			return err
		})
		s.sh.foundNoFile(err, time.Now())
		if err != nil {
			return err
		}
		s.readable()
		if due && atEnd {
			if err := s.verify(ctx); err != nil {
				return err
			}
			return errComplete
		}
		if idle = min(idle*2, fileIdle); s.log.reached > before || s.terminalAt.isSet() {
			idle = s.sh.opts.PollInterval
		}
		if err := s.rest(ctx, idle); err != nil {
			return err
		}
	}
}

// turn waits until the cluster bears another read by the file way.
func (s *stream) turn(ctx context.Context) error {
	r := s.sh.filePolls.Reserve()
	t := time.NewTimer(r.Delay())
	defer t.Stop()
	select {
	case <-ctx.Done():
		r.Cancel()
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// charge counts one more read within a turn: it waits for nothing, but the next
// turn comes later.
func (s *Shipper) charge() { s.filePolls.Reserve() }

// pollFile reads what is new. over tells that the run has ended, so that a
// last line needs no line end. atEnd: the log ends where the position stands.
func (s *stream) pollFile(ctx context.Context, lines *int, over bool) (atEnd bool, err error) {
	defer s.drop() // the half line is read again with the next window
	if s.log.pos.content <= smallLog {
		return s.readWhole(ctx, over)
	}
	if !s.log.repeats {
		w, err := s.find(ctx, &s.log.pos, *lines)
		if err != nil {
			return false, err
		}
		*lines = w.lines
		if w.whole {
			return s.feedWhole(ctx, bytes.NewReader(w.text), over)
		}
		if w.found == 1 { // more often: the log repeats itself, and a window proves nothing
			s.resumeWindow(ctx, w.text[:w.at])
			return true, s.feedRest(ctx, bytes.NewReader(w.text[w.at:]), over)
		}
		s.sh.charge()
	}
	if err := s.sh.rereadBudget(ctx, s.log.pos.content); err != nil {
		return false, err
	}
	return s.readWhole(ctx, over)
}

// sighting is where a position was seen in a log's last lines.
type sighting struct {
	text  []byte
	lines int  // asked for
	whole bool // text is the whole log
	at    int  // the place in text right behind the position
	found int  // in how many places it could be; 0: in none
}

// find looks for a position in windows of the log's end, n lines at first:
// longer ones while it is not there, shorter ones while they are too large.
func (s *stream) find(ctx context.Context, pos *position, n int) (sighting, error) {
	for low, high, again := 0, windowMax+1, false; ; again = true {
		if again {
			s.sh.charge()
		}
		text, whole, err := s.window(ctx, n)
		if err != nil {
			return sighting{}, err
		}
		w := sighting{text: text, lines: n, whole: whole}
		if text == nil {
			high = n
			n /= 4
		} else {
			if w.at, w.found = findPosition(text, pos); w.found > 0 || whole {
				return w, nil
			}
			low = n
			n = min(4*n, high-1)
		}
		if n <= low || n >= high {
			return w, nil
		}
	}
}

// windowFor guesses how many lines make so many bytes.
func (s *stream) windowFor(bytes uint64) int {
	lines := bytes * (s.log.pos.lines + 1) / (s.log.pos.content + 1)
	return int(min(max(lines, 2), windowLines))
}

// window reads the last n lines. whole tells that these are all there are; nil
// that they are more bytes than a window may have.
func (s *stream) window(ctx context.Context, n int) (window []byte, whole bool, err error) {
	if err := s.sh.out.budget.acquire(ctx, windowBytes, false, false); err != nil {
		return nil, false, err
	}
	defer s.sh.out.budget.release(windowBytes, false)
	body, err := s.sh.client.LogLines(ctx, s.current().LogRef(), n)
	if err != nil {
		return nil, false, err
	}
	defer body.Close()
	window, err = io.ReadAll(io.LimitReader(body, windowBytes+1))
	if err != nil {
		return nil, false, err
	}
	if len(window) > windowBytes {
		return nil, false, nil
	}
	got := bytes.Count(window, []byte{'\n'})
	if len(window) > 0 && window[len(window)-1] != '\n' {
		got++ // Ray counts a last line without its end (2.60.0)
	}
	return window, got < n, nil
}

// resumeWindow goes on behind a position that was found in a window. That is a
// guess until the whole log is read: the last verified position is kept.
func (s *stream) resumeWindow(ctx context.Context, before []byte) {
	if !s.log.guessed {
		sure := s.log.pos
		s.log.verified, s.log.guessed = &sure, true
	}
	p := &prover{want: s.log.pos, raw: unknown}
	content := make([]byte, 0, anchorSize)
	for _, line := range bytes.FieldsFunc(before, func(r rune) bool { return r == '\n' || r == '\r' }) {
		content = append(content, line...)
	}
	p.tail = append(p.tail, content[len(content)-s.log.pos.anchor.length:]...)
	p.content = s.log.pos.content
	s.begin(ctx, resumeCutter(s.sh.opts.Limits.MaxMessageSize, p))
}

// readWhole reads the log from its first byte.
func (s *stream) readWhole(ctx context.Context, over bool) (bool, error) {
	if err := s.sh.whole.Acquire(ctx, 1); err != nil {
		return false, err
	}
	defer s.sh.whole.Release(1)
	body, err := s.sh.client.LogLines(ctx, s.current().LogRef(), 0)
	if err != nil {
		return false, err
	}
	defer body.Close()
	return s.feedWhole(ctx, body, over)
}

// feedWhole takes a log from its first byte on and verifies what was read before.
func (s *stream) feedWhole(ctx context.Context, body io.Reader, over bool) (bool, error) {
	var p *prover
	if s.log.pos.content > 0 {
		p = proveAll(s.log.pos, 0)
		p.want.raw = unknown // raw offsets of before are no help against the whole content
	}
	f := s.newFeeder(ctx, wayFile, p, 0)
	if err := f.readAll(ctx, body); err != nil {
		return false, err
	}
	if f.p != nil {
		return false, fmt.Errorf("%w: it ends before the last line read", errReplaced)
	}
	s.log.guessed = false
	s.log.size = max(s.log.size, s.cut.raw)
	return true, s.finishRead(ctx, over)
}

func (s *stream) feedRest(ctx context.Context, body io.Reader, over bool) error {
	f := &feeder{s: s, way: wayFile}
	if err := f.readAll(ctx, body); err != nil {
		return err
	}
	return s.finishRead(ctx, over)
}

// finishRead gives the half line at the end of a log whose run is over.
func (s *stream) finishRead(ctx context.Context, over bool) error {
	if over {
		return s.lastLine(ctx)
	}
	if err := s.endRead(ctx); err != nil {
		return err
	}
	return s.flush(ctx)
}

// verify reads the whole log once more where windows were trusted. If they
// were wrong, the log is read again from the last place that is sure.
func (s *stream) verify(ctx context.Context) error {
	if !s.log.guessed {
		return nil
	}
	if err := s.sh.rereadBudget(ctx, s.log.pos.content); err != nil {
		return err
	}
	s.sh.charge()
	_, err := s.readWhole(ctx, true)
	s.drop()
	return err
}
