package shipper

import (
	"context"
	"net/http"
	"time"

	"raytap/ray"
)

// logWays is what is known of the ways to read logs of this Ray as bytes: by its
// version, and by an answer that told that it gives no files.
func (s *Shipper) logWays(now time.Time) ray.LogTransports {
	w := s.client.LogTransports()
	w.NoFile = w.NoFile || s.noFile.isSet() && now.Sub(s.noFile.get()) < stepDown
	return w
}

// foundNoFile takes the error of a read by the file way.
func (s *Shipper) foundNoFile(err error, now time.Time) {
	if ray.Code(err) == http.StatusNotImplemented {
		s.noFile.set(now)
	}
}

// byteLadder lists the ways of a protocol where logs are bytes, the best one first.
// A way that this Ray does not have is no rung. Where it gives no files, the whole
// log as text is the last way, and the first one once the run is over: a tail's end
// proves nothing. textless: the log cannot be had as text, now that the run is over.
func byteLadder(protocol string, w ray.LogTransports, over, textless bool) []way {
	last := wayFile
	if w.NoFile {
		last = wayWhole
	}
	tails := protocol != ProtocolHTTP && (protocol == ProtocolWebSocket || !w.TailsBlock)
	rungs := []way{wayAgent}
	if protocol == ProtocolWebSocket {
		rungs = nil
	}
	switch {
	case w.NoFile && over && tails && textless:
		return append(rungs, wayWebSocket)
	case w.NoFile && over:
		return append(rungs, wayWhole)
	case protocol == ProtocolWebSocket:
		return append(rungs, wayWebSocket)
	case tails:
		return append(rungs, wayWebSocket, last)
	}
	return append(rungs, last)
}

// tailOfNode takes the one tail that the agent of the stream's node bears, where
// tails block it. free gives it back; ok is false while another stream has it.
func (s *stream) tailOfNode() (free func(), ok bool) {
	sh := s.sh
	w := sh.logWays(time.Now())
	if !w.TailsBlock {
		return func() {}, true
	}
	sh.warnOnce("tails block", "Ray "+w.Ray+" stops a node's job agent while a log there is tailed over a WebSocket: one job a node is tailed at a time, the logs of the others come when they have ended. Set protocol to auto")
	node := s.current().DriverNodeID
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.tailed[node] {
		return nil, false
	}
	if sh.tailed == nil {
		sh.tailed = map[string]bool{}
	}
	sh.tailed[node] = true
	return func() {
		sh.mu.Lock()
		defer sh.mu.Unlock()
		delete(sh.tailed, node)
	}, true
}

// warnOnce logs a warning once in the shipper's life.
func (s *Shipper) warnOnce(what, message string) {
	s.mu.Lock()
	before := s.warned[what]
	if s.warned == nil {
		s.warned = map[string]bool{}
	}
	s.warned[what] = true
	s.mu.Unlock()
	if !before {
		s.opts.Log.Warn(message)
	}
}

// agentRefused reports whether the node's agent must not be asked, rather than that
// it does not answer now.
func (s *stream) agentRefused(ctx context.Context) bool {
	ref := s.current().LogRef()
	if s.sh.opts.Protocol == ProtocolWebSocket || ref.AgentURL == "" {
		return true
	}
	part, err := s.sh.client.AgentLog(ctx, ref, max(0, s.log.size))
	if err == nil {
		part.Body.Close() //nolint:errcheck // asked for its headers
	}
	return refusedWay(err)
}
