package tail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"raytap/shipper/checkpoint"
	"raytap/shipper/slots"

	"github.com/cespare/xxhash/v2"

	"raytap/lines"
	"raytap/ray"
)

const (
	// windowLines is the maximum size of the first window, and windowMax that of the last
	// one (lines). After that the whole log is read.
	windowLines = 256
	windowMax   = 8192
	// windowBytes is the maximum size of a window in bytes; larger ones are not used.
	windowBytes = 1 << 20
)

// source is one log and what the readers of all transports share: the job, the pipeline
// that the bytes go to, and the selector. Not safe for concurrent use.
type source struct {
	cl       *Cluster
	job      *job
	p        *pipeline
	health   *health
	slots    *slots.Slots
	selector selector
	// snapshotMismatches counts snapshots in a row that lack what was read.
	snapshotMismatches int
	lastTailHash       uint64 // of the log's last lines, while no slot is free
	// restart is where the log goes on if it was replaced, if the reader knows that.
	restart *checkpoint.Generation
	// older: the log has older files than the one that was read, and nothing is lost.
	older bool
}

// conditions returns the conditions for the selector as they are now.
func (s *source) conditions(now time.Time) conditions {
	j, cl := s.job.current(), s.cl
	return conditions{
		protocol: cl.opts.Protocol, messages: cl.messages != nil,
		terminal: s.job.terminalAt.IsSet(), settled: s.job.settled(now), found: s.job.found.Load() != nil,
		support:  cl.support(now),
		tailable: plainID.MatchString(j.SubmissionID) && j.Status != ray.JobPending,
		slotFree: s.slots.Available(), refused: cl.refusals.Recent(now),
		content: s.p.log.Pos.Content, maxReplay: cl.opts.MaxReplay, poll: cl.opts.PollInterval,
		agent: func() bool { return j.DriverAgentURL != "" && cl.agents.allow(j.DriverAgentURL, now) },
	}
}

// betterAvailable reports whether a transport better than t can be used again: a slot must
// be free, and a node agent must answer.
func (s *source) betterAvailable(ctx context.Context, t Transport) bool {
	now := time.Now()
	return s.selector.betterAvailable(t, s.conditions(now), now, func(b Transport) bool {
		return b != NodeAgent || s.agentAnswers(ctx)
	})
}

// agentAnswers reports whether the node agent can read the log. It requests the log's
// current end, while the tail still uses another transport.
func (s *source) agentAnswers(ctx context.Context) bool {
	ref := s.job.current().LogRef()
	err := onFreshStack(func() error {
		part, err := s.cl.client.AgentLog(ctx, ref, max(0, s.p.log.Size))
		if err == nil {
			part.Body.Close() // read for its headers
		}
		return err
	})
	switch now := time.Now(); {
	case err == nil:
		s.cl.agents.markUp(ref.AgentURL)
	case ctx.Err() != nil:
	case rejectsAllJobs(err), unreachable(ray.Code(err)):
		s.cl.agents.markDown(ref.AgentURL, err, now)
	default: // the error applies to this log only
		s.selector.transports[NodeAgent].until = now.Add(transportCooldown)
	}
	return err == nil
}

// agentRefused reports whether the node agent must not be used. It returns false if the
// agent only does not answer now.
func (s *source) agentRefused(ctx context.Context) bool {
	return errors.Is(s.askAgent(ctx), ray.ErrTransportNotAllowed)
}

// askAgent requests the log's current end from the node agent, for its headers.
func (s *source) askAgent(ctx context.Context) error {
	ref := s.job.current().LogRef()
	if s.cl.opts.Protocol == ProtocolWebSocket || ref.AgentURL == "" {
		return ray.ErrTransportNotAllowed
	}
	part, err := s.cl.client.AgentLog(ctx, ref, max(0, s.p.log.Size))
	if err == nil {
		part.Body.Close()
	}
	return err
}

// match is where a position was found in a log's last lines.
type match struct {
	text    []byte
	lines   int  // requested
	whole   bool // text is the whole log
	at      int  // the index in text right after the position
	matches int  // how many places match
}

// locate searches for a position in windows of the log's end. The first one has n lines;
// the next ones are longer if the position is not found, and shorter if they are too large.
func (s *source) locate(ctx context.Context, pos *lines.Position, n int) (match, error) {
	for low, high, again := 0, windowMax+1, false; ; again = true {
		if again {
			s.cl.load.chargeFilePoll()
		}
		text, whole, err := s.window(ctx, n)
		if err != nil {
			return match{}, err
		}
		w := match{text: text, lines: n, whole: whole}
		if text == nil {
			high = n
			n /= 4
		} else {
			if w.at, w.matches = lines.Find(text, pos); w.matches > 0 || whole {
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

// windowFor estimates how many lines have a number of bytes.
func (s *source) windowFor(bytes uint64) int {
	pos := &s.p.log.Pos
	n := bytes * (pos.Lines + 1) / (pos.Content + 1)
	return int(min(max(n, 2), windowLines))
}

// window reads the last n lines. whole: the log has no more lines. It returns nil if they
// are more than windowBytes.
func (s *source) window(ctx context.Context, n int) (window []byte, whole bool, err error) {
	memory := s.cl.out.Memory
	if err := memory.Acquire(ctx, windowBytes, false, false); err != nil {
		return nil, false, err
	}
	defer memory.Release(windowBytes, false)
	body, err := s.cl.client.LogLines(ctx, s.job.current().LogRef(), n)
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
		got++ // Ray also counts a last line without \n (2.60.0)
	}
	return window, got < n, nil
}

// atEnd reads the last lines from the file API, and reports whether the log ends where the
// reads have ended, the partial line included. full: if windows do not show that, it reads
// the whole log; else it returns false.
func (s *source) atEnd(ctx context.Context, full bool) (bool, error) {
	pos := s.p.Split.Position()
	w, err := s.locate(ctx, &pos, s.windowFor(2*lines.FingerprintSize))
	switch {
	case err != nil:
		return false, err
	case w.matches == 1, w.matches > 1 && !full, w.whole && pos.Content == 0:
		return int64(lines.ContentLen(w.text[w.at:])) == s.p.Split.Partial(), nil
	case !full:
		return false, nil
	}
	return s.atEndFull(ctx, pos)
}

// atEndFull is atEnd by reading the whole log.
func (s *source) atEndFull(ctx context.Context, pos lines.Position) (bool, error) {
	if err := s.cl.load.waitReread(ctx, pos.Content); err != nil {
		return false, err
	}
	body, err := s.cl.client.LogLines(ctx, s.job.current().LogRef(), 0)
	if err != nil {
		return false, err
	}
	defer body.Close()
	v := lines.VerifyAll(pos, lines.UnknownOffset)
	rest, err := v.FeedAll(body)
	return err == nil && v.Done() && v.OK() && int64(rest) == s.p.Split.Partial(), err
}

// classifyShortReplay returns why a replay did not reach the position: errReplaced only if a
// read of the whole log shows that it has changed, else errShortReplay.
func (s *source) classifyShortReplay(ctx context.Context) error {
	body, err := s.cl.client.LogLines(ctx, s.job.current().LogRef(), 0)
	if err != nil {
		return errShortReplay
	}
	defer body.Close()
	v := lines.VerifyAll(s.p.log.Pos, lines.UnknownOffset)
	buf := lines.GetChunk()
	defer lines.PutChunk(buf)
	for {
		n, err := body.Read(*buf)
		_, done := v.Feed((*buf)[:n])
		switch {
		case done && v.OK():
			return errShortReplay
		case done, errors.Is(err, io.EOF):
			return errReplaced
		case err != nil:
			return errShortReplay
		}
	}
}

// openSnapshot requests the whole log, one log at a time, once again bytes may be read
// again. Callers call release, which also closes body.
func (s *source) openSnapshot(ctx context.Context, again uint64) (body io.ReadCloser, release func(), err error) {
	if err := s.cl.load.waitReread(ctx, again); err != nil {
		return nil, nil, err
	}
	if err := s.cl.load.fullReads.Acquire(ctx, 1); err != nil {
		return nil, nil, err
	}
	if s.cl.messages != nil {
		body, err = s.cl.messages.JobLogs(ctx, s.job.current().SubmissionID)
	} else {
		body, err = s.cl.client.LogText(ctx, s.job.current().LogRef())
	}
	if err != nil {
		s.cl.load.fullReads.Release(1)
		return nil, nil, err
	}
	return body, func() {
		body.Close() // after a read, its error does not matter
		s.cl.load.fullReads.Release(1)
	}, nil
}

// snapshotSize returns how many content bytes a snapshot has. It returns
// errSnapshotIncomplete if that does not begin with what was read.
func (s *source) snapshotSize(ctx context.Context) (uint64, error) {
	pos := s.p.log.Pos
	body, release, err := s.openSnapshot(ctx, pos.Content)
	if err != nil {
		return 0, err
	}
	defer release()
	v := lines.VerifyAll(pos, lines.UnknownOffset)
	rest, err := v.FeedAll(body)
	if err == nil && (!v.Done() || !v.OK()) {
		err = errSnapshotIncomplete
	}
	return v.Content() + rest, err
}

// endsEarly returns the error of a log that ends before the position.
func endsEarly() error {
	return fmt.Errorf("%w (it ends before the last line that was read)", errReplaced)
}

// onFreshStack runs f on a goroutine of its own, and waits for it. A goroutine keeps the
// stack that its deepest call needed, and a read has deep calls: on its own goroutine the
// tail of a silent job would keep that memory.
func onFreshStack(f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return <-done
}

// checkSize is how many of the last raw bytes the next read repeats, to verify that it
// continues where the last one ended.
const checkSize = 256

// maxCheckSize is how much of a partial line the next read repeats at most (bytes).
const maxCheckSize = 64 << 10

// ingester passes the bytes of one transport to the pipeline: first to the verifier, if
// there is a position to verify, then to the splitter.
type ingester struct {
	p         *pipeline
	transport Transport
	verifier  *lines.Verifier // nil once the position is verified
	last      []byte          // the last raw bytes, at most checkSize
	fresh     int64           // new content bytes
}

// newIngester returns an ingester that first verifies with v. If v is nil, it starts at the
// start of the log.
func (p *pipeline) newIngester(t Transport, v *lines.Verifier, raw int64) *ingester {
	f := &ingester{p: p, transport: t, verifier: v}
	if v == nil {
		p.begin(lines.StartFile(p.cl.opts.Limits.MaxMessageSize, raw, p.log.Pos.Lines))
	}
	return f
}

// replay returns an ingester for a read from the log's first byte on, over a transport that
// does not report raw offsets.
func (p *pipeline) replay(t Transport) *ingester {
	return p.newIngester(t, p.verifyAll(lines.UnknownOffset), lines.UnknownOffset)
}

// verifyAll returns a verifier for all content before the position; nil at the start of the
// log.
func (p *pipeline) verifyAll(raw int64) *lines.Verifier {
	if p.log.Pos.Content == 0 {
		return nil
	}
	return lines.VerifyAll(p.log.Pos, raw)
}

// write passes on the next bytes. Only full batches go to the writer; flush passes the rest.
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
	p.Now = time.Now().UnixNano()
	s := p.Split
	err := p.SplitLines(ctx, b)
	// Line ends after the position, and a partial line that was read before, are not new.
	if reached := s.Reached(); reached > p.log.Reached {
		f.fresh += int64(reached - p.log.Reached)
		p.log.Reached = reached
		p.noteProgress(f.transport, len(b))
	}
	return err
}

// verified checks the result of the verifier, which is done, and starts the splitter.
func (f *ingester) verified() error {
	if !f.verifier.OK() {
		return errReplaced
	}
	f.p.begin(lines.Resume(f.p.cl.opts.Limits.MaxMessageSize, f.verifier))
	f.verifier = nil
	return nil
}

// noteProgress records that n new bytes were read over a transport.
func (p *pipeline) noteProgress(t Transport, n int) {
	p.progress.grew, p.job.printedAt = true, time.Now()
	p.cl.Metrics.ReadBytes(t.String()).Add(float64(n))
	p.slots.Printed(p.job.key)
}

// remember keeps the last checkSize raw bytes.
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

// tail returns the fingerprint of the last raw bytes: of checkSize bytes, or of a partial
// line that is longer than that. Within such a line checkSize bytes may well be the same in
// another log.
func (f *ingester) tail() tailFingerprint {
	last := f.last
	if text := f.p.Split.PartialText(); len(text) > checkSize && len(text) <= maxCheckSize {
		last = text
	}
	return tailFingerprint{raw: f.p.Split.Raw(), size: len(last), hash: xxhash.Sum64(last)}
}

// readAll passes on a body until EOF, and flushes.
func (f *ingester) readAll(ctx context.Context, body io.Reader) error {
	buf := lines.GetChunk()
	defer lines.PutChunk(buf)
	for {
		n, err := body.Read(*buf)
		if n > 0 {
			if err := f.write(ctx, (*buf)[:n]); err != nil {
				return err
			}
			if n < lines.ChunkSize/2 || err != nil { // short reads: it is near the log's end
				if err := f.p.Flush(ctx); err != nil {
					return err
				}
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return f.p.Flush(ctx)
		case err != nil:
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}
