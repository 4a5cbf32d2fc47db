package raytest

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"raytap/ray"
)

// This file has what a test does to the files of a node's log directory. Names are
// relative to it: "worker-….out", "old/worker-….out". Each function is one step of a
// process on the node: a client sees the directory before or after it.

// WriteFile makes a new file of this content, in place of one that has the name.
func (n *Node) WriteFile(name, content string) {
	n.head.mu.Lock()
	defer n.head.mu.Unlock()
	f := &file{}
	f.replace(content)
	n.files[name] = f
}

// AppendFile appends to a file, which is made if it does not exist.
func (n *Node) AppendFile(name, text string) {
	n.head.mu.Lock()
	defer n.head.mu.Unlock()
	if n.files[name] == nil {
		n.files[name] = &file{}
	}
	n.files[name].write([]byte(text))
}

// TruncateFile empties a file in place, as ": > file" does.
func (n *Node) TruncateFile(name string) { n.change(name, func(f *file) { f.replace("") }) }

// CopyFile copies a file, as cp does: an existing file is overwritten in place.
func (n *Node) CopyFile(from, to string) {
	n.change(from, func(f *file) {
		if n.files[to] == nil {
			n.files[to] = &file{}
		}
		n.files[to].replace(string(f.data))
	})
}

// RenameFile renames a file, in place of one that has the new name. Its content, its
// size and its time stay, and so does its ETag.
func (n *Node) RenameFile(from, to string) {
	n.change(from, func(f *file) {
		delete(n.files, from)
		n.files[to] = f
	})
}

// RotateFile renames a file and its generations as Ray does, so that NAME is NAME.1,
// NAME.1 is NAME.2, and so on up to NAME.keep; the last one is deleted. Nothing has the
// name until something is written to it.
func (n *Node) RotateFile(name string, keep int) {
	at := func(k int) string {
		if k == 0 {
			return name
		}
		return fmt.Sprintf("%s.%d", name, k)
	}
	n.head.mu.Lock()
	defer n.head.mu.Unlock()
	for k := keep - 1; k >= 0; k-- {
		if f := n.files[at(k)]; f != nil {
			delete(n.files, at(k))
			n.files[at(k+1)] = f
		}
	}
}

// RemoveFile deletes a file.
func (n *Node) RemoveFile(name string) { n.change(name, func(*file) { delete(n.files, name) }) }

// SetModified sets the time of a file's last write, and so its ETag.
func (n *Node) SetModified(name string, at time.Time) {
	n.change(name, func(f *file) { f.modified = at })
}

// change calls do for a file that exists.
func (n *Node) change(name string, do func(*file)) {
	n.head.mu.Lock()
	defer n.head.mu.Unlock()
	if f := n.files[name]; f != nil {
		do(f)
	}
}

// File returns a copy of a file's content, and whether it exists.
func (n *Node) File(name string) (content []byte, ok bool) {
	n.change(name, func(f *file) { content, ok = bytes.Clone(f.data), true })
	return content, ok
}

// Files lists the names of all files, sorted.
func (n *Node) Files() []string {
	n.head.mu.Lock()
	defer n.head.mu.Unlock()
	return slices.Sorted(maps.Keys(n.files))
}

// ShareLogs makes the node write to, and serve, the log directory of another one, as two
// raylets of one host and session do. What it had before is gone.
func (n *Node) ShareLogs(with *Node) {
	n.head.mu.Lock()
	defer n.head.mu.Unlock()
	n.files = with.files
}

// SetWorkers sets the workers that are alive on the node, none by default.
func (n *Node) SetWorkers(workers ...ray.Worker) {
	n.head.mu.Lock()
	defer n.head.mu.Unlock()
	n.workers, n.workersUnknown = workers, false
}

// ForgetWorkers makes the node's workers unknown, as for about 15 s after the process
// that serves the list of nodes was started (2.60.0).
func (n *Node) ForgetWorkers() {
	n.head.mu.Lock()
	defer n.head.mu.Unlock()
	n.workers, n.workersUnknown = nil, true
}

// workerStats returns the node's workers in the form of a recorded one; nil if they are
// unknown.
func (n *Node) workerStats(recorded map[string]any) []any {
	if n.workersUnknown {
		return nil
	}
	rows := []any{}
	for _, w := range n.workers {
		row := maps.Clone(recorded)
		row["ipAddress"], row["workerId"], row["pid"], row["workerType"] = n.IP, w.ID, w.PID, w.Type
		row["jobId"], row["actorId"], row["numRunningTasks"] = idOr(w.JobID, 8), idOr(w.ActorID, 32), strconv.Itoa(w.Running)
		rows = append(rows, row)
	}
	return rows
}

// idOr returns an id, or that of nothing.
func idOr(id string, length int) string {
	if id == "" {
		return strings.Repeat("f", length)
	}
	return id
}
