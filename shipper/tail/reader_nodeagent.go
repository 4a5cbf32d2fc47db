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

// agentIdle is the maximum pause between two polls of a silent log.
const agentIdle = 5 * time.Second

// nodeAgentReader reads ranges of the log from its node's agent. Each range begins with
// bytes that were read before, to detect that the log was replaced.
//
// A log that is silent for long is at rest: the ingester and its buffers are dropped, and a
// poll only compares the log's last bytes. That makes thousands of silent jobs cheap.
type nodeAgentReader struct {
	*source
	in       *ingester       // nil at rest, and before the first read
	rest     tailFingerprint // of a log at rest
	answered bool            // the agent has answered during this read
}

func (r *nodeAgentReader) read(ctx context.Context) error {
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

// poll reads once. busy: the last poll has returned new content.
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

// finish writes the partial line, if there is one, as the log's last line.
func (r *nodeAgentReader) finish(ctx context.Context) error {
	if r.p.split != nil { // else everything is flushed
		if err := r.p.flushPartial(ctx); err != nil {
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

// check reads the fingerprint's bytes from body, and returns errReplaced if they differ.
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

// canRest reports whether reading can continue without the splitter: everything is flushed,
// and the position can be verified by a short read.
func (r *nodeAgentReader) canRest() bool {
	pos, s := &r.p.log.Pos, r.p.split
	return s.Partial() == 0 && s.Lines() == pos.Lines && pos.Content > 0 && pos.HasShortTail() && pos.ShortTailTo(s.Raw())
}

// unchanged reports whether a log at rest still ends where it did.
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

// open requests the log from an offset on. It returns errReplaced if the log has less than
// least bytes.
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
		part.Body.Close() // the other error is returned
		return part, err
	}
	log.Size = max(log.Size, part.Size)
	return part, nil
}

// pollRange reads new bytes. If there is no ingester, it verifies the position first.
// atEnd: it has read up to the size that the agent reported.
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

// truncatedBody returns the error of a response that ended too early.
func truncatedBody(err error) error {
	return &ray.Error{Op: "read log", Code: 503, Detail: "the response was truncated: " + err.Error(), Err: err}
}
