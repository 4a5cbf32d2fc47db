package dashboard

import (
	"path"
	"strings"
	"sync"
	"time"
)

// This file distinguishes stats from sentinels. If a node agent cannot read a value, Ray
// sends another value of the same type instead, so each stat has bounds outside of
// which it is a sentinel and has no series. Seen in Ray 2.60.0: GPU utilization -1
// (each MIG slice; AMD on an error), a file system of one byte in a Kubernetes pod,
// an object store of 0 bytes until the raylet has reported, network counters of 0 if
// no interface's name starts with e, and 2^64-1 for an unknown time.

// maxBytes is more than any machine has (2^60). Larger values are a limit that was
// never set (cgroups: 2^63-4096) or -1 in 64 bits.
const maxBytes = 1 << 60

// bytes returns a value in bytes, and false if it is a sentinel.
func (n number) bytes() (float64, bool) {
	if !n.ok || n.value < 0 || n.value >= maxBytes {
		return 0, false
	}
	return n.value, true
}

// count returns a value that is a count, and false if it is a sentinel.
func (n number) count() (int, bool) {
	if !n.ok || n.value < 0 || n.value >= 1<<31 {
		return 0, false
	}
	return int(n.value), true
}

// percent returns a percentage as a ratio, or nil if it is a sentinel.
func (n number) percent() *float64 {
	if !n.ok || n.value < 0 || n.value > 100 {
		return nil
	}
	ratio := n.value / 100
	return &ratio
}

// valid reports whether a file system has stats: in a Kubernetes pod Ray sends a size
// of 1 byte (2.60.0).
func (d diskRow) valid() bool {
	total, ok1 := d.Total.bytes()
	_, ok2 := d.Used.bytes()
	_, ok3 := d.Free.bytes()
	return ok1 && ok2 && ok3 && total > 1
}

// mountNames returns the real names that a node's mounts can have. Ray reports the
// root and the directory of its sessions, which is raylet.tempDir (2.60.0) or else
// part of the raylet's socket path; earlier versions (2.9.3, 2.40.0) report the
// parent of that directory.
func (r *summaryRow) mountNames() nameMap {
	names := nameMap{}
	dir, _, _ := strings.Cut(r.Raylet.Socket, "/session_")
	for _, d := range []string{r.Raylet.TempDir, dir} {
		if d != "" {
			names.add(d)
			names.add(path.Dir(d))
		}
	}
	names.add("/")
	names.add("/tmp")
	return names
}

// mountName returns a mount's real name, and false if it is not known: Ray
// camel-cases the names of mounts like all keys (2.60.0: /tmp/my_ray_tmp is sent as
// /tmp/myRayTmp).
//
// A name with an underscore was not camel-cased (Ray before 2.60). A name without
// capitals and digits is unchanged: camel-casing capitalizes a letter after an
// underscore.
func mountName(sent string, names nameMap) (real string, ok bool) {
	real, known := names[sent]
	switch {
	case real != "":
		return real, true
	case known: // two directories share this name
		return "", false
	case strings.Contains(sent, "_"):
		return sent, true
	}
	unchanged := sent == strings.ToLower(sent) && !strings.ContainsAny(sent, "0123456789")
	return sent, unchanged
}

// statsTracker records since when each node agent has sent the same stats. The zero
// value is ready; it is safe for concurrent use.
//
// Stats carry the time of their node's own clock, which may be wrong by any amount:
// compared with another clock (another node's, the head's or ours) it does not show
// their age. An agent still reports if its time changes between two requests; how
// long it has not changed is measured by our monotonic clock. After the first
// request only the node's state is known, which Ray changes about 14 s after a node
// is lost.
type statsTracker struct {
	mu    sync.Mutex
	nodes map[string]statsChange
}

// statsChange is the time that a node agent last reported, and when we first saw it.
type statsChange struct {
	nodeTime float64
	since    time.Time
}

// observe records the times that the nodes of a response report, and returns the
// nodes whose stats are current.
func (b *statsTracker) observe(rows []summaryRow) map[string]bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	nodes := make(map[string]statsChange, len(rows))
	current := make(map[string]bool, len(rows))
	for i := range rows {
		id, reported := rows[i].Raylet.ID, rows[i].Now
		if !reported.ok || reported.seconds().IsZero() {
			continue
		}
		at, known := b.nodes[id]
		if !known || at.nodeTime != reported.value {
			at = statsChange{reported.value, now}
		}
		nodes[id] = at
		current[id] = now.Sub(at.since) <= maxStatsAge
	}
	b.nodes = nodes
	return current
}
