package web

import (
	"cmp"
	"slices"
	"time"
)

// NodeLogsStatus is the status of the logs in one log directory.
type NodeLogsStatus struct {
	NodeID string `json:"node_id"`         // that was first seen to serve the directory
	Error  string `json:"error,omitempty"` // why no agent answers; "": one does
	// Sources are sorted by name; none if the directory was never listed.
	Sources []SourceStatus `json:"sources,omitempty"`
	// OldestLog is the log whose last look is the oldest; "": no log is read.
	OldestLog  string    `json:"oldest_log,omitempty"`
	OldestLook time.Time `json:"oldest_look,omitzero"`
	// Failing is how many logs cannot be read; FailingLogs are the first of them.
	Failing     int          `json:"failing"`
	FailingLogs []FailingLog `json:"failing_logs,omitempty"`
}

// SourceStatus counts the logs of a source by state.
type SourceStatus struct {
	Source   string `json:"source"`
	Live     uint64 `json:"live"`
	Ended    uint64 `json:"ended"`    // of dead processes, still read
	Excluded uint64 `json:"excluded"` // by selectors
	Done     uint64 `json:"done"`     // not read any more
}

// FailingLog is a log that could not be read when it was last looked at.
type FailingLog struct {
	Log   string    `json:"log"`
	Error string    `json:"error"`
	Since time.Time `json:"since"`
}

// sourceGroup are the logs of a source on all nodes of a cluster.
type sourceGroup struct {
	Cluster string
	SourceStatus
}

// sourceGroups returns the logs on a cluster's nodes by source.
func sourceGroups(c ClusterStatus) (out []sourceGroup) {
	for _, n := range c.NodeLogs {
		for _, s := range n.Sources {
			i := slices.IndexFunc(out, func(g sourceGroup) bool { return g.Source == s.Source })
			if i < 0 {
				i = len(out)
				out = append(out, sourceGroup{Cluster: c.Name, SourceStatus: SourceStatus{Source: s.Source}})
			}
			out[i].Live += s.Live
			out[i].Ended += s.Ended
			out[i].Excluded += s.Excluded
			out[i].Done += s.Done
		}
	}
	return out
}

// The page lists at most so many nodes of a cluster, and so many failing logs.
const (
	maxShownNodes   = 20
	maxShownFailing = 10
)

// nodeLogsView is what the page shows of the logs on a cluster's nodes.
type nodeLogsView struct {
	Logs        uint64 // that are read
	Nodes       int
	Unreachable int // nodes with an error
	Failing     int
	Oldest      time.Time
	Shown       []NodeLogsStatus // those with problems first, then those with the oldest looks
	FailingLogs []shownFailure
}

// shownFailure is a failing log and its node.
type shownFailure struct {
	Node string
	FailingLog
}

func newNodeLogsView(all []NodeLogsStatus) nodeLogsView {
	v := nodeLogsView{Nodes: len(all)}
	for _, n := range all {
		if n.Error != "" {
			v.Unreachable++
		}
		if !n.OldestLook.IsZero() && (v.Oldest.IsZero() || n.OldestLook.Before(v.Oldest)) {
			v.Oldest = n.OldestLook
		}
		for _, s := range n.Sources {
			v.Logs += s.Live + s.Ended
		}
		v.Failing += n.Failing
		for _, f := range n.FailingLogs {
			v.FailingLogs = append(v.FailingLogs, shownFailure{n.NodeID, f})
		}
	}
	v.Shown = slices.Clone(all)
	slices.SortStableFunc(v.Shown, func(a, b NodeLogsStatus) int {
		return cmp.Or(boolCompare(a.Error != "", b.Error != ""), boolCompare(a.Failing > 0, b.Failing > 0), a.OldestLook.Compare(b.OldestLook))
	})
	v.Shown = v.Shown[:min(len(v.Shown), maxShownNodes)]
	slices.SortStableFunc(v.FailingLogs, func(a, b shownFailure) int { return a.Since.Compare(b.Since) })
	v.FailingLogs = v.FailingLogs[:min(len(v.FailingLogs), maxShownFailing)]
	return v
}

// boolCompare orders true before false.
func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}
