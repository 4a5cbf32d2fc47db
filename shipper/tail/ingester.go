package tail

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/cespare/xxhash/v2"

	"raytap/lines"
)

// checkSize is how many of the last raw bytes the next read begins with, to see that
// it continues where the last one stopped.
const checkSize = 256

// ingester writes a log's bytes into the pipeline as one transport reads them: first
// those that verify the position, if there is one, then new ones.
type ingester struct {
	p         *pipeline
	transport Transport
	verifier  *lines.Verifier // nil once the position is verified
	last      []byte          // the last raw bytes, at most checkSize
	fresh     int64           // new bytes written
}

// newIngester starts at the start of the log where v is nil.
func (p *pipeline) newIngester(t Transport, v *lines.Verifier, raw int64) *ingester {
	f := &ingester{p: p, transport: t, verifier: v}
	if v == nil {
		p.begin(lines.NewSplitter(p.cl.opts.Limits.MaxMessageSize, raw))
	}
	return f
}

// replay returns an ingester for a log that is read from its first byte on, over a
// transport that does not report raw offsets.
func (p *pipeline) replay(t Transport) *ingester {
	return p.newIngester(t, p.verifyAll(lines.UnknownOffset), lines.UnknownOffset)
}

// verifyAll returns a verifier of the position by all content before it; nil at the
// start of the log.
func (p *pipeline) verifyAll(raw int64) *lines.Verifier {
	if p.log.Pos.Content == 0 {
		return nil
	}
	return lines.VerifyAll(p.log.Pos, raw)
}

// write takes the next bytes. It hands over nothing but full batches: flush does that.
func (f *ingester) write(ctx context.Context, b []byte) error {
	f.remember(b)
	p := f.p
	if f.verifier != nil {
		rest, done := f.verifier.Feed(b)
		p.cl.Metrics.ReplayedBytes(f.transport.String()).Add(float64(len(b) - len(rest)))
		if !done {
			return nil
		}
		if err := f.verified(); err != nil {
			return err
		}
		b = rest
	}
	if len(b) == 0 {
		return nil
	}
	p.health.success()
	p.now = time.Now().UnixNano()
	s := p.split
	err := p.splitLines(ctx, b)
	// Line ends after the position and a partial line that was seen before are
	// nothing new.
	if reached := s.Reached(); reached > p.log.Reached {
		f.fresh += int64(reached - p.log.Reached)
		p.log.Reached = reached
		p.noteProgress(f.transport, len(b))
	}
	return err
}

// verified ends the verification. It is called once the verifier has had all its bytes.
func (f *ingester) verified() error {
	if !f.verifier.OK() {
		return errReplaced
	}
	f.p.begin(lines.Resume(f.p.cl.opts.Limits.MaxMessageSize, f.verifier))
	f.verifier = nil
	return nil
}

// noteProgress notes that new content came over a transport.
func (p *pipeline) noteProgress(t Transport, n int) {
	p.progress.grew, p.job.printedAt = true, time.Now()
	p.cl.Metrics.ReadBytes(t.String()).Add(float64(n))
	p.slots.Printed(p.job.key)
}

func (f *ingester) remember(b []byte) {
	if len(b) >= checkSize {
		f.last = append(f.last[:0], b[len(b)-checkSize:]...)
		return
	}
	f.last = append(f.last, b...)
	if n := len(f.last); n > checkSize {
		f.last = f.last[:copy(f.last, f.last[n-checkSize:])]
	}
}

// tail returns the fingerprint of the last raw bytes.
func (f *ingester) tail() tailFingerprint {
	return tailFingerprint{raw: f.p.split.Raw(), size: len(f.last), hash: xxhash.Sum64(f.last)}
}

// readAll writes a body to its end.
func (f *ingester) readAll(ctx context.Context, body io.Reader) error {
	buf := lines.GetChunk()
	defer lines.PutChunk(buf)
	for {
		n, err := body.Read(*buf)
		if n > 0 {
			if err := f.write(ctx, (*buf)[:n]); err != nil {
				return err
			}
			if n < lines.ChunkSize/2 || err != nil { // a reader that is not far back
				if err := f.p.flush(ctx); err != nil {
					return err
				}
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return f.p.flush(ctx)
		case err != nil:
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}
