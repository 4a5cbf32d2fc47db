package tail

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"raytap/lines"
)

const (
	// fileIdle is the maximum pause between two polls of a silent log.
	fileIdle = time.Minute
	// smallLog is the size up to which a log is read again and verified, instead of searched
	// for its position (content bytes).
	smallLog = 64 << 10
)

// fileReader reads the log from the dashboard's file API. That has no offsets, so a poll
// requests the last lines and searches them for the position.
type fileReader struct {
	*source
	lines int // size of the next window
}

func (r *fileReader) read(ctx context.Context) error {
	idle := r.cl.opts.PollInterval
	r.lines = r.windowFor(windowBytes / 8)
	for {
		// Before the wait: after it, the slot in the rate limit would be wasted.
		if r.betterAvailable(ctx, File) {
			return errBetterTransport
		}
		if err := r.cl.load.waitFilePoll(ctx); err != nil {
			return err
		}
		settled := r.job.settled(time.Now())
		before := r.p.log.Reached
		atEnd := false
		err := onFreshStack(func() (err error) {
			atEnd, err = r.poll(ctx, settled)
			return err
		})
		r.cl.noteFileAPI(err, time.Now())
		if err != nil {
			return err
		}
		r.health.success()
		if settled && atEnd {
			if err := r.verify(ctx); err != nil {
				return err
			}
			return errComplete
		}
		if idle = min(idle*2, fileIdle); r.p.log.Reached > before || r.job.terminalAt.IsSet() {
			idle = r.cl.opts.PollInterval
		}
		if err := r.job.sleep(ctx, idle); err != nil {
			return err
		}
	}
}

// poll reads new lines. ended: the run is over, so that the last line needs no line end.
// atEnd: the log ends at the position.
func (r *fileReader) poll(ctx context.Context, ended bool) (atEnd bool, err error) {
	defer r.p.drop() // the partial line is read again with the next window
	log := r.p.log
	if log.Pos.Content <= smallLog {
		return r.readFull(ctx, ended)
	}
	if !log.Ambiguous {
		w, err := r.locate(ctx, &log.Pos, r.lines)
		if err != nil {
			return false, err
		}
		r.lines = w.lines
		if w.whole {
			return r.ingestFull(ctx, bytes.NewReader(w.text), ended)
		}
		if w.matches == 1 { // if there are more, the log repeats itself
			r.resume(w.text[:w.at])
			in := &ingester{p: r.p, transport: File}
			if err := in.readAll(ctx, bytes.NewReader(w.text[w.at:])); err != nil {
				return true, err
			}
			return true, r.p.endRead(ctx, ended)
		}
		r.cl.load.chargeFilePoll()
	}
	if err := r.cl.load.waitReread(ctx, log.Pos.Content); err != nil {
		return false, err
	}
	return r.readFull(ctx, ended)
}

// resume continues after a position that was found in a window. It is unverified until the
// whole log is read, so the last verified position is kept.
func (r *fileReader) resume(before []byte) {
	log := r.p.log
	if !log.Unverified {
		verified := log.Pos
		log.LastVerified, log.Unverified = &verified, true
	}
	r.p.begin(lines.Resume(r.cl.opts.Limits.MaxMessageSize, lines.Found(log.Pos, before)))
}

// readFull reads the log from its first byte on. atEnd is as for poll.
func (r *fileReader) readFull(ctx context.Context, ended bool) (bool, error) {
	if err := r.cl.load.fullReads.Acquire(ctx, 1); err != nil {
		return false, err
	}
	defer r.cl.load.fullReads.Release(1)
	body, err := r.cl.client.LogLines(ctx, r.job.current().LogRef(), 0)
	if err != nil {
		return false, err
	}
	defer body.Close()
	return r.ingestFull(ctx, body, ended)
}

// ingestFull verifies and reads the body of a whole log.
func (r *fileReader) ingestFull(ctx context.Context, body io.Reader, ended bool) (bool, error) {
	v := r.p.verifyAll(0)
	if v != nil {
		v.IgnoreRaw() // the whole content is enough to compare
	}
	in := r.p.newIngester(File, v, 0)
	if err := in.readAll(ctx, body); err != nil {
		return false, err
	}
	if in.verifier != nil {
		return false, endsEarly()
	}
	log := r.p.log
	log.Unverified = false
	log.Size = max(log.Size, r.p.Split.Raw())
	return true, r.p.endRead(ctx, ended)
}

// verify reads the whole log if the position is unverified. If that was wrong, the log is
// read again from the last verified position.
func (r *fileReader) verify(ctx context.Context) error {
	if !r.p.log.Unverified {
		return nil
	}
	if err := r.cl.load.waitReread(ctx, r.p.log.Pos.Content); err != nil {
		return err
	}
	r.cl.load.chargeFilePoll()
	_, err := r.readFull(ctx, true)
	r.p.drop()
	return err
}

// grewInFile is GrewAfterEnd through the file API: it searches for the position in the log's
// last lines, and reads the whole log if it is not found there.
func (s *source) grewInFile(ctx context.Context) (bool, error) {
	pos := &s.p.log.Pos
	if pos.Content > 0 && !s.p.log.Ambiguous {
		w, err := s.locate(ctx, pos, s.windowFor(2*lines.FingerprintSize))
		switch {
		case err != nil:
			return false, err
		case w.matches == 1:
			return lines.ContentLen(w.text[w.at:]) > 0, nil
		case w.whole:
			return hasMore(bytes.NewReader(w.text), pos.Content)
		}
		s.cl.load.chargeFilePoll()
	}
	if err := s.cl.load.waitReread(ctx, pos.Content); err != nil {
		return false, err
	}
	body, err := s.cl.client.LogLines(ctx, s.job.current().LogRef(), 0)
	if err != nil {
		return false, err
	}
	defer body.Close()
	return hasMore(body, pos.Content)
}

// hasMore reports whether a body has more than a number of content bytes.
func hasMore(body io.Reader, content uint64) (bool, error) {
	buf := lines.GetChunk()
	defer lines.PutChunk(buf)
	for has := uint64(0); ; {
		n, err := body.Read(*buf)
		has += uint64(lines.ContentLen((*buf)[:n]))
		switch {
		case has > content:
			return true, nil
		case errors.Is(err, io.EOF):
			return false, nil
		case err != nil:
			return false, err
		}
	}
}

// hasContent reports whether a body has content bytes.
func hasContent(body io.Reader) (bool, error) {
	buf := make([]byte, 512)
	for {
		n, err := body.Read(buf)
		if lines.ContentLen(buf[:n]) > 0 {
			return true, nil
		}
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
}
