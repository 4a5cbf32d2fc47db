package tail

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"raytap/lines"
	"raytap/ray"
)

// GrewAfterEnd reports whether the log holds content after the position.
func (t *Tail) GrewAfterEnd(ctx context.Context) (bool, error) {
	if t.cl.messages != nil {
		size, err := t.snapshotSize(ctx)
		return size > t.p.log.Pos.Content, err
	}
	now := time.Now()
	if t.p.log.Pos.Raw >= 0 && t.cl.opts.Protocol != ProtocolWebSocket && t.selector.usable(NodeAgent, t.conditions(now)) {
		grown, err := t.grewAtAgent(ctx)
		switch {
		case err == nil:
			t.cl.agents.markUp(t.job.current().DriverAgentURL)
			return grown, nil
		case rejectsAllJobs(err) || unreachable(ray.Code(err)):
			t.cl.agents.markDown(t.job.current().DriverAgentURL, err, now)
		}
	}
	if err := t.cl.load.waitFilePoll(ctx); err != nil {
		return false, err
	}
	if t.cl.support(now).NoFile {
		body, release, err := t.openSnapshot(ctx, t.p.log.Pos.Content)
		if err != nil {
			return false, err
		}
		defer release()
		return hasMore(body, t.p.log.Pos.Content)
	}
	grown, err := t.grewInFile(ctx)
	t.cl.noteFileAPI(err, now)
	return grown, err
}

// grewAtAgent asks the node's agent for what it has after the position: mostly
// nothing, or the last line's end.
func (s *source) grewAtAgent(ctx context.Context) (bool, error) {
	part, err := s.cl.client.AgentLog(ctx, s.job.current().LogRef(), s.p.log.Pos.Raw)
	if err != nil {
		return false, err
	}
	defer part.Body.Close()
	if _, err := io.CopyN(io.Discard, part.Body, s.p.log.Pos.Raw-part.Offset); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	return hasContent(part.Body)
}

// hasContent reports whether there is anything but line ends in a body.
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

// grewInFile looks for the position in the log's last lines, and reads it as a
// whole where they do not show it.
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

// hasMore reports whether a body has more content bytes than so many.
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
