package tail

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/cespare/xxhash/v2"

	"raytap/lines"
	"raytap/ray"
)

// agentIdle is the longest pause between two polls of a silent log.
const agentIdle = 5 * time.Second

// nodeAgentReader reads the log from its node's agent, by ranges: each read begins with
// bytes that are known, so that a log that is not the same is noticed.
//
// A log that is silent for long is at rest: its ingester and its buffers are dropped, and
// only its last bytes are compared. That is what makes thousands of silent jobs cheap.
type nodeAgentReader struct {
	*source
	in       *ingester       // nil at rest, and before the first read
	rest     tailFingerprint // of a log at rest
	answered bool            // the agent has answered in this read
}

func (r *nodeAgentReader) read(ctx context.Context) error {
	r.in, r.rest, r.answered = nil, tailFingerprint{}, false
	idle, busy := r.cl.opts.PollInterval, false
	agent := r.job.current().DriverAgentURL
	generation := r.cl.agents.generation(agent)
	for {
		settled := r.job.settled(time.Now())
		atEnd, err := r.poll(ctx, agent, generation, busy)
		if err != nil {
			return err
		}
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
				r.in, r.rest = nil, r.in.tail()
				r.p.drop()
			}
		}
		if err := r.job.sleep(ctx, idle); err != nil {
			return err
		}
	}
}

// poll makes one read. busy: the log grew with the last one.
func (r *nodeAgentReader) poll(ctx context.Context, agent string, generation time.Time, busy bool) (atEnd bool, err error) {
	if err := r.cl.load.polls.Acquire(ctx, 1); err != nil {
		return false, err
	}
	defer r.cl.load.polls.Release(1)
	if now := r.cl.agents.generation(agent); !r.answered && now != generation && !now.IsZero() {
		return false, errAgentDown
	}
	poll := func() (err error) {
		if r.in == nil && r.rest.size > 0 {
			if atEnd, err = r.unchanged(ctx); err != nil || atEnd {
				return err
			}
		}
		atEnd, err = r.pollRange(ctx)
		return err
	}
	if busy {
		return atEnd, poll()
	}
	err = onFreshStack(poll)
	return atEnd, err
}

// finish makes the partial line, if there is one, the log's last.
func (r *nodeAgentReader) finish(ctx context.Context) error {
	if r.p.split != nil { // else all that was read is handed over
		if err := r.p.flushPartial(ctx); err != nil {
			return err
		}
	}
	return errComplete
}

// tailFingerprint is where a silent log ended: its last raw bytes, by their hash.
type tailFingerprint struct {
	raw  int64 // where they end
	size int   // at most checkSize; 0: nothing is known
	hash uint64
}

// check reads the fingerprint's bytes.
func (f tailFingerprint) check(body io.Reader) error {
	got := make([]byte, f.size)
	if _, err := io.ReadFull(body, got); err != nil {
		return truncatedBody(err)
	}
	if xxhash.Sum64(got) != f.hash {
		return errReplaced
	}
	return nil
}

// canRest reports whether the log can be read on without the splitter: all that it has
// was handed over, or is read again with the fingerprint.
func (r *nodeAgentReader) canRest() bool {
	pos, s := &r.p.log.Pos, r.p.split
	return s.Partial() == 0 && s.Lines() == pos.Lines && pos.Content > 0 && pos.HasShortTail() && pos.ShortTailTo(s.Raw())
}

// unchanged reports whether a log at rest still ends where it did. Its end is compared,
// as by every read.
func (r *nodeAgentReader) unchanged(ctx context.Context) (bool, error) {
	part, err := r.open(ctx, r.rest.raw-int64(r.rest.size), r.rest.raw)
	if err != nil {
		return false, err
	}
	defer part.Body.Close()
	if err := r.rest.check(part.Body); err != nil {
		return false, err
	}
	return part.Size == r.rest.raw, nil
}

// open requests the log from an offset on. A log of less than so many bytes is not the
// one that was read before.
func (r *nodeAgentReader) open(ctx context.Context, from, least int64) (ray.LogRange, error) {
	part, err := r.cl.client.AgentLog(ctx, r.job.current().LogRef(), from)
	if err != nil {
		return part, err
	}
	log := r.p.log
	least = max(least, log.Pos.Raw)
	if part.Size < least || part.Offset > from {
		err = fmt.Errorf("%w (it has %d bytes, %d were read before)", errReplaced, part.Size, least)
	} else if _, short := io.CopyN(io.Discard, part.Body, from-part.Offset); short != nil {
		err = truncatedBody(short)
	}
	if err != nil {
		part.Body.Close() // it is the lesser error
		return part, err
	}
	log.Size = max(log.Size, part.Size)
	return part, nil
}

// pollRange reads what is new, and verifies the position first where there is no
// ingester. atEnd: it read up to the size that the agent reported.
func (r *nodeAgentReader) pollRange(ctx context.Context) (atEnd bool, err error) {
	pos := &r.p.log.Pos
	var from int64
	var known tailFingerprint
	var v *lines.Verifier
	switch {
	case r.in != nil:
		known = r.in.tail()
		from = known.raw - int64(known.size)
	case pos.Content == 0:
	case pos.HasShortTail():
		v = lines.VerifyTail(*pos)
		from = pos.Tail.Start
	default:
		if err := r.cl.load.waitReread(ctx, pos.Content); err != nil {
			return false, err
		}
		v = lines.VerifyAll(*pos, 0)
	}
	part, err := r.open(ctx, from, from+int64(known.size))
	if err != nil {
		return false, err
	}
	defer part.Body.Close()
	in := r.in
	if in == nil {
		in = r.p.newIngester(NodeAgent, v, 0)
	} else if err := known.check(part.Body); err != nil {
		return false, err
	}
	r.in = nil
	if err := in.readAll(ctx, part.Body); err != nil {
		return false, err
	}
	if in.verifier != nil {
		return false, endsEarly()
	}
	r.in = in
	return r.p.split.Raw() >= part.Size, r.p.endPoll(ctx)
}

func truncatedBody(err error) error {
	return &ray.Error{Op: "read log", Code: 503, Detail: "the response was truncated: " + err.Error(), Err: err}
}
