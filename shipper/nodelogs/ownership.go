package nodelogs

import (
	"errors"
	"slices"
	"time"

	"raytap/shipper/checkpoint"
	"raytap/shipper/nodelogs/names"
)

// Until a list of the nodes shows that a node is dead, an agent of another cluster may answer
// at its address. Workers have ids that are the same in no two clusters, so a listing is the
// directory's own if it has a log that is known, or names a worker that runs. A directory of
// which nothing is known, on a node where no worker runs, shows neither: its listing counts
// once its node has been alive for long enough after it.

var errForeign = errors.New("the agent has none of the node's log files: it may be one of another cluster")

// verdict is whose a listing is.
type verdict int

const (
	own      verdict = iota
	foreign          // it has other logs than those that are known
	doubtful         // nothing shows whose it is
)

// ownership is what shows that an agent is the directory's.
type ownership struct {
	observed time.Time // the last list of nodes in which a node that serves the directory was alive
	doubted  doubted
}

// doubted is the first of several listings that show the same files, and not whose they are.
type doubted struct {
	listing listing
	logs    map[uint64]*listedLog // nil: there is none
	since   time.Time
}

// owns returns whose a listing is. The caller holds d.mu.
func (d *directory) owns(l *listing, logs map[uint64]*listedLog) verdict {
	if l.proven || d.hasAnyOf(logs) {
		return own
	}
	for _, log := range logs {
		if _, ok := d.s.liveWorker(log.ID); ok {
			return own
		}
	}
	for id, pid := range l.hints() {
		if _, ok := d.s.liveWorker(id); ok || d.knowsWorker(id, pid) {
			return own
		}
	}
	switch {
	case d.hasNone() && len(logs) == 0 && !l.logs.Truncated:
		return own // there is nothing to take from it, and nothing to forget
	case d.hasNone() && sharesOne(d.doubted.logs, logs) && d.observed.Sub(d.doubted.since) >= trustAfter && slices.Contains(d.routes, l.route):
		return own
	case d.hasNone() || len(logs) == 0 || l.logs.Truncated:
		return doubtful
	}
	return foreign
}

// knowsWorker reports whether a log of a worker is known.
func (d *directory) knowsWorker(id string, pid int) bool {
	logs := map[uint64]*listedLog{}
	for _, stream := range []string{names.Stdout, names.Stderr} {
		if log, ok := names.ParseWorker(names.WorkerName(id, "", pid, stream)); ok {
			logs[checkpoint.FileHash(log.Log())] = nil
		}
	}
	return d.hasAnyOf(logs)
}

// doubt keeps the first listing of which nothing shows whose it is.
func (d *directory) doubt(l listing, logs map[uint64]*listedLog, now time.Time) {
	if !sharesOne(d.doubted.logs, logs) {
		d.doubted = doubted{l, logs, now}
	}
}

// sharesOne reports whether two listings show one log.
func sharesOne(a, b map[uint64]*listedLog) bool {
	for hash := range a {
		if b[hash] != nil {
			return true
		}
	}
	return false
}
