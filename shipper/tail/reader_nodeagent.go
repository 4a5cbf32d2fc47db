package tail

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/cespare/xxhash/v2"

	"raytap/lines"
	"raytap/ray"
	"raytap/shipper/checkpoint"
	"raytap/shipper/rotation"
)

// agentIdle is the maximum pause between two polls of a silent log.
const agentIdle = 5 * time.Second

// nodeAgentReader reads ranges of the log from its node's agent. Each range begins with
// bytes that were read before, to detect that the log was replaced. A log that was rotated
// is read on where that file is now, see package rotation.
//
// A log that is silent for long is at rest: the ingester and its buffers are dropped, and a
// poll only compares the log's last bytes. That makes thousands of silent jobs cheap.
type nodeAgentReader struct {
	*source
	in       *ingester        // nil at rest, and before the first read
	files    *rotation.Reader // nil if in is
	skip     int64            // bytes of files before those that in expects
	rest     tailFingerprint  // of a log at rest
	answered bool             // the agent has answered during this read
	searched bool             // the file with the position is found by its content alone
}

func (r *nodeAgentReader) read(ctx context.Context) error {
	idle, busy := r.cl.opts.PollInterval, false
	agent := r.job.current().DriverAgentURL
	generation := r.cl.agents.generation(agent)
	for {
		over, settled := r.job.terminalAt.IsSet(), r.job.settled(time.Now())
		atEnd, err := r.poll(ctx, agent, generation, busy)
		if err != nil {
			return err
		}
		r.job.readAfterEnd = over && atEnd
		if !r.answered {
			r.cl.agents.markUp(agent)
			r.answered = true
		}
		r.health.success()
		if settled && atEnd {
			return r.finish(ctx)
		}
		busy = r.in != nil && r.in.fresh > 0
		if idle = min(idle*3/2, agentIdle); busy || r.job.terminalAt.IsSet() {
			idle = r.cl.opts.PollInterval
		}
		if r.in != nil {
			r.in.fresh = 0
			if r.p.underPressure() {
				if err := r.p.yieldMemory(); err != nil {
					return err
				}
			}
			if idle == agentIdle && r.canRest() {
				r.in, r.files, r.rest = nil, nil, r.in.tail()
				r.p.drop()
			}
		}
		if err := r.job.sleep(ctx, idle); err != nil {
			return err
		}
	}
}

// poll reads once. busy: the last poll has returned new content.
func (r *nodeAgentReader) poll(ctx context.Context, agent string, generation time.Time, busy bool) (atEnd bool, err error) {
	if err := r.beginPoll(ctx); err != nil {
		return false, err
	}
	defer func() { <-r.cl.load.polls }()
	if now := r.cl.agents.generation(agent); !r.answered && now != generation && !now.IsZero() {
		return false, errAgentDown
	}
	poll := func() (err error) {
		if r.in == nil && r.rest.size > 0 {
			if atEnd, err = r.unchanged(ctx); err != nil || atEnd {
				return err
			}
		}
		atEnd, err = r.pollFiles(ctx)
		return err
	}
	if busy {
		return atEnd, poll()
	}
	err = onFreshStack(poll)
	return atEnd, err
}

// beginPoll waits until another poll may begin. Those that run may wait for the memory that
// the partial line of this log holds: it is dropped while memory is exhausted.
func (r *nodeAgentReader) beginPoll(ctx context.Context) error {
	var pressure <-chan struct{}
	if r.in != nil && r.p.HasPending() {
		pressure = r.cl.out.Memory.Pressure()
	}
	select {
	case r.cl.load.polls <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-pressure:
		return r.p.yieldMemory()
	}
}

// finish writes the partial line, if there is one, as the log's last line.
func (r *nodeAgentReader) finish(ctx context.Context) error {
	if r.p.Split != nil { // else everything is flushed
		if err := r.p.FlushPartial(ctx); err != nil {
			return err
		}
	}
	return errComplete
}

// tailFingerprint identifies the last raw bytes of a log.
type tailFingerprint struct {
	raw  int64 // where they end
	size int   // at most maxCheckSize; 0: there is no fingerprint
	hash uint64
}

// matches reads the fingerprint's bytes from body, and reports whether they are the same.
func (f tailFingerprint) matches(body io.Reader) (bool, error) {
	got := make([]byte, f.size)
	if _, err := io.ReadFull(body, got); err != nil {
		return false, truncatedBody(err)
	}
	return xxhash.Sum64(got) == f.hash, nil
}

// canRest reports whether reading can continue without the splitter: everything is flushed,
// and the position can be verified by a short read.
func (r *nodeAgentReader) canRest() bool {
	pos, s := &r.p.log.Pos, r.p.Split
	return r.files.Number() == 0 && r.p.progress.files.Left == 0 && s.Partial() == 0 && s.Lines() == pos.Lines && pos.Content > 0 && pos.HasShortTail() && pos.ShortTailTo(s.Raw())
}

// unchanged reports whether a log at rest still ends where it did.
func (r *nodeAgentReader) unchanged(ctx context.Context) (bool, error) {
	part, err := r.cl.client.AgentLog(ctx, r.job.current().LogRef(), r.rest.raw-int64(r.rest.size))
	if err != nil {
		return false, err
	}
	defer part.Body.Close()
	from := r.rest.raw - int64(r.rest.size)
	if part.Size < r.rest.raw || part.Offset > from {
		return false, nil
	}
	if _, err := io.CopyN(io.Discard, part.Body, from-part.Offset); err != nil {
		return false, truncatedBody(err)
	}
	same, err := r.rest.matches(part.Body)
	return same && part.Size == r.rest.raw, err
}

// pollFiles reads new bytes, from one file after the other if the log was rotated. atEnd: it
// has read up to the end of the last one.
func (r *nodeAgentReader) pollFiles(ctx context.Context) (atEnd bool, err error) {
	if r.in == nil {
		if err := r.start(ctx); err != nil {
			if errors.Is(err, rotation.ErrRotating) {
				err = nil
			}
			return false, err
		}
	}
	in := r.in
	r.in = nil // after an error nothing is continued
	defer r.files.Close()
	for {
		if text := r.partial(); len(text) <= maxCheckSize {
			r.files.Repeat(text)
		}
		chunk, err := r.files.Next(ctx)
		switch {
		case errors.Is(err, rotation.ErrRotating):
			r.in = in
			return false, nil
		case errors.Is(err, io.EOF):
			if in.verifier != nil {
				return false, r.mismatch(in, endsEarly())
			}
			r.in = in
			return true, r.p.endPoll(ctx)
		case err != nil:
			return false, err
		case chunk.Lost:
			r.restart = r.generationAt(r.files.Position(0))
			r.cl.Metrics.GenerationsLost().Inc()
			return false, fmt.Errorf("%w (no file of the log begins with what was read)", errReplaced)
		case chunk.NewGeneration:
			if in.verifier != nil {
				return false, r.mismatch(in, endsEarly())
			}
			if err := r.nextFile(ctx, in); err != nil {
				return false, err
			}
		}
		if err := r.ingest(ctx, in, chunk.Data); err != nil {
			return false, r.mismatch(in, err)
		}
		if r.files.AtEnd() {
			if in.verifier != nil {
				return false, r.mismatch(in, endsEarly())
			}
			r.in = in
			return true, r.p.endPoll(ctx)
		}
	}
}

// partial returns the partial line that was read, as far as the current file has it.
func (r *nodeAgentReader) partial() []byte {
	if r.p.Split == nil {
		return nil
	}
	return r.p.Split.PartialText()
}

// generationAt returns the generation of a position with which the log goes on in another
// epoch.
func (r *nodeAgentReader) generationAt(at rotation.Position) *checkpoint.Generation {
	return &checkpoint.Generation{Position: at, Oldest: at == (rotation.Position{})}
}

// mismatch returns the error of a file that is not the one that was read. Before the position
// is verified it returns nil once: the next poll compares all files with what was read, since
// the beginning of a file can be that of another one.
func (r *nodeAgentReader) mismatch(in *ingester, err error) error {
	if errors.Is(err, errReplaced) && in.verifier != nil && !r.searched {
		r.searched = true
		return nil
	}
	return r.replacedBy(err)
}

// replacedBy notes, for errReplaced, that the log goes on with the file that has taken the
// place of the one that was read. It returns err.
func (r *nodeAgentReader) replacedBy(err error) error {
	if errors.Is(err, errReplaced) {
		r.restart = &checkpoint.Generation{Position: rotation.Position{After: r.files.Position(0).After}}
	}
	return err
}

// start makes the ingester and the reader of the files, which continue at the log's position.
func (r *nodeAgentReader) start(ctx context.Context) error {
	log, files := r.p.log, driverFiles{r.cl.client, r.job.current().LogRef()}
	at, pos := log.Gen.Position, &log.Pos
	var v *lines.Verifier
	var err error
	unknown := at == (rotation.Position{})
	switch {
	case pos.Content == 0 && pos.Lines == 0 && unknown && log.Epoch > 0 && !log.Gen.Oldest:
		at, err = rotation.At(ctx, files, 0, 0) // what was rotated was read in another epoch
	case pos.Content == 0:
	case pos.HasShortTail():
		v = lines.VerifyTail(*pos)
		if unknown || r.searched || at.Raw > pos.Tail.Start {
			at, err = r.search(ctx, files, pos.Tail.Start)
		}
		r.skip = pos.Tail.Start - at.Raw
	default:
		if err := r.cl.load.waitReread(ctx, pos.Content); err != nil {
			return err
		}
		v = lines.VerifyAll(*pos, 0)
		if at.Raw, at.Proof = 0, (rotation.Sum{}); unknown || r.searched {
			at, err = r.search(ctx, files, 0)
		}
	}
	if err == nil && unknown && pos.Content > 0 && log.Epoch == 0 && at.After != 0 {
		// All that was read is of this file: another transport has read it first.
		r.older, r.restart = true, &checkpoint.Generation{Oldest: true}
		err = fmt.Errorf("%w (it has older files)", errReplaced)
	}
	if err != nil {
		return err
	}
	r.in, r.files = r.p.newIngester(NodeAgent, v, 0), rotation.NewReader(files, true, at)
	if v == nil {
		r.skip = 0
	}
	return nil
}

// search returns the position at an offset in the file that has the log's position: the
// newest one whose content fits. It returns rotation.ErrRotating if files moved meanwhile.
func (r *nodeAgentReader) search(ctx context.Context, files driverFiles, from int64) (rotation.Position, error) {
	var absent error
	oldest, err := rotation.At(ctx, files, 0, 0)
	if err != nil {
		return oldest, err
	}
	for k := 0; ; k++ {
		before, err := rotation.At(ctx, files, k, 0)
		if err != nil {
			return before, err
		}
		part, err := files.Read(ctx, k, from, 0)
		if ray.Code(err) == http.StatusNotFound {
			if k == 0 {
				absent = err
				continue
			}
			break
		}
		if err != nil {
			return rotation.Position{}, err
		}
		v := lines.VerifyAll(r.p.log.Pos, 0)
		if r.p.log.Pos.HasShortTail() {
			v = lines.VerifyTail(r.p.log.Pos)
		}
		if fits, err := fits(v, part, from); err != nil {
			return rotation.Position{}, err
		} else if !fits {
			continue
		}
		at, err := rotation.At(ctx, files, k, from)
		if err != nil {
			return at, err
		}
		return at, r.unmoved(ctx, files, k, before)
	}
	if err := r.unmoved(ctx, files, 0, oldest); err != nil || absent != nil {
		return oldest, cmp.Or(err, absent)
	}
	r.restart = r.generationAt(oldest)
	return oldest, fmt.Errorf("%w (no file of the log has what was read)", errReplaced)
}

// unmoved returns rotation.ErrRotating unless the file before number k is still the one that
// it was: then number k is, too.
func (*nodeAgentReader) unmoved(ctx context.Context, files driverFiles, k int, was rotation.Position) error {
	now, err := rotation.At(ctx, files, k, 0)
	if err == nil && now != was {
		err = rotation.ErrRotating
	}
	return err
}

// fits feeds a verifier from an offset of a file on. It closes the part.
func fits(v *lines.Verifier, part ray.FilePart, from int64) (bool, error) {
	defer part.Body.Close()
	if part.Offset > from {
		return false, nil
	}
	if _, err := io.CopyN(io.Discard, part.Body, from-part.Offset); err != nil {
		return false, nil //nolint:nilerr // the file is shorter
	}
	buf := lines.GetChunk()
	defer lines.PutChunk(buf)
	for {
		n, err := part.Body.Read(*buf)
		switch _, done := v.Feed((*buf)[:n]); {
		case done:
			return v.OK(), nil
		case errors.Is(err, io.EOF):
			return false, nil
		case err != nil:
			return false, err
		}
	}
}

// nextFile continues with the next file of a rotated log, from its first byte on. A partial
// line goes on there.
func (r *nodeAgentReader) nextFile(ctx context.Context, in *ingester) error {
	p := r.p
	if err := p.FlushPending(ctx); err != nil {
		return err
	}
	if err := p.Flush(ctx); err != nil {
		return err
	}
	p.progress.files.NextFile(p.Split.Reached())
	p.Split.NextFile()
	if p.Agg != nil {
		p.Agg.Begin(p.Split)
	}
	in.last = in.last[:0]
	p.log.Reached, p.log.Admitted = 0, 0
	p.cl.Metrics.RotationsFollowed().Inc()
	return nil
}

// ingest passes on the next bytes of a file, and flushes.
func (r *nodeAgentReader) ingest(ctx context.Context, in *ingester, data []byte) error {
	p, head := r.p, r.files.Position(len(data)).Head
	n := int(min(r.skip, int64(len(data))))
	r.skip -= int64(n)
	for n < len(data) {
		if p.Split != nil {
			p.progress.files.Mark(r.files.Position(n))
			p.progress.files.Head = head
		}
		end := min(n+lines.ChunkSize, len(data))
		if err := in.write(ctx, data[n:end]); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		n = end
	}
	if p.progress.files.Left == 0 {
		p.log.Size = max(p.log.Size, r.files.Size())
	}
	return p.Flush(ctx)
}

// truncatedBody returns the error of a response that ended too early.
func truncatedBody(err error) error {
	return &ray.Error{Op: "read log", Code: 503, Detail: "the response was truncated: " + err.Error(), Err: err}
}
