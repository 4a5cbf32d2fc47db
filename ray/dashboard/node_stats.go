package dashboard

import (
	"path"
	"strings"
	"sync"
	"time"
)

// This file: which of a node's readings are readings. Ray fills what an agent
// cannot read with a value of the same type, so that each reading has bounds
// outside of which it is a sentinel and has no series. Seen in Ray 2.60.0:
// utilization -1 of a GPU (each MIG slice; AMD on an error), a file system of
// one byte in a Kubernetes pod, an object store of 0 bytes until the raylet has
// reported, network counters of 0 where no interface's name begins with e, and
// 2^64-1 for a time that is not known.

// maxBytes is more than any machine has (2^60). What lies above is a limit that
// was never set (cgroups: 2^63-4096) or a -1 of 64 bits.
const maxBytes = 1 << 60

// bytes returns a reading in bytes, and false where it is a sentinel.
func (n number) bytes() (float64, bool) {
	if !n.ok || n.value < 0 || n.value >= maxBytes {
		return 0, false
	}
	return n.value, true
}

// count returns a reading that counts things, and false where it is a sentinel.
func (n number) count() (int, bool) {
	if !n.ok || n.value < 0 || n.value >= 1<<31 {
		return 0, false
	}
	return int(n.value), true
}

// percent returns a share of 0 to 100 as a ratio, or nil where it is a sentinel.
func (n number) percent() *float64 {
	if !n.ok || n.value < 0 || n.value > 100 {
		return nil
	}
	ratio := n.value / 100
	return &ratio
}

// valid reports whether a file system has readings: in a Kubernetes pod Ray sends
// one of 1 byte (2.60.0).
func (d diskRow) valid() bool {
	total, ok1 := d.Total.bytes()
	_, ok2 := d.Used.bytes()
	_, ok3 := d.Free.bytes()
	return ok1 && ok2 && ok3 && total > 1
}

// mountNames returns the real names that a node's mounts can have. Ray reads
// the root and the directory for its sessions, which is raylet.tempDir (2.60.0),
// else part of the raylet's socket path; before that (2.9.3, 2.40.0) it read the
// directory that this one is in.
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

// mountName returns a mountName's real name, and false where it is not known: Ray
// camel-cases the names of mounts as it does all keys (2.60.0: /tmp/my_ray_tmp
// is sent as /tmp/myRayTmp).
//
// A name that has an underscore was not camel-cased (Ray before 2.60). One that
// has neither a capital nor a digit is what it was: Ray makes a capital of a
// letter after an underscore.
func mountName(sent string, names nameMap) (real string, ok bool) {
	real, known := names[sent]
	switch {
	case real != "":
		return real, true
	case known: // two directories have this name
		return "", false
	case strings.Contains(sent, "_"):
		return sent, true
	}
	unchanged := sent == strings.ToLower(sent) && !strings.ContainsAny(sent, "0123456789")
	return sent, unchanged
}

// statsTracker remembers since when each node's agent has sent the same
// readings. The zero value is ready; it is safe for concurrent use.
//
// Readings carry the time of their node's own clock, which may be off by any
// amount: compared with another clock (another node's, the head's or ours) it
// says nothing about their age. What shows that an agent still reports is that
// its time changes from one look to the next; how long it has not changed is
// measured by our monotonic clock alone. At the first look nothing can be known
// but the node's state, which Ray changes about 14 s after a node is gone.
type statsTracker struct {
	mu    sync.Mutex
	nodes map[string]statsChange
}

// statsChange is the time that a node's agent told, and when we first saw it.
type statsChange struct {
	nodeTime float64
	since    time.Time
}

// observe notes the times that an answer's nodes tell, and returns the nodes whose
// readings are current.
func (b *statsTracker) observe(rows []summaryRow) map[string]bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	nodes := make(map[string]statsChange, len(rows))
	current := make(map[string]bool, len(rows))
	for i := range rows {
		id, told := rows[i].Raylet.ID, rows[i].Now
		if !told.ok || told.seconds().IsZero() {
			continue
		}
		at, known := b.nodes[id]
		if !known || at.nodeTime != told.value {
			at = statsChange{told.value, now}
		}
		nodes[id] = at
		current[id] = now.Sub(at.since) <= maxStatsAge
	}
	b.nodes = nodes
	return current
}
