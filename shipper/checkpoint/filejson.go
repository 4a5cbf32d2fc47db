package checkpoint

import (
	"cmp"
	"slices"
	"strconv"

	"raytap/shipper/rotation"
)

type (
	// filesJSON is what is known of the log files of one session.
	filesJSON struct {
		Session     string          `json:"session"`
		First       []string        `json:"first_nodes,omitempty"`
		Directories []directoryJSON `json:"directories,omitempty"`
		Logs        []FileJSON      `json:"logs,omitempty"`
	}
	directoryJSON struct {
		ID      string   `json:"directory"`
		Nodes   []string `json:"nodes,omitempty"`
		Decided bool     `json:"backfill_decided,omitempty"`
		// Done is the number of files that are finished or skipped by the backfill, Hash the XOR of their
		// hashes.
		Done int    `json:"done"`
		Hash string `json:"done_hash"`
	}
	// FileJSON is the position of a log file.
	FileJSON struct {
		Key          string         `json:"key"`
		Name         string         `json:"file,omitempty"`
		Directory    string         `json:"directory,omitempty"`
		SubmissionID string         `json:"submission_id,omitempty"`
		JobID        string         `json:"job_id,omitempty"`
		JobName      string         `json:"job_name,omitempty"`
		NodeID       string         `json:"node_id,omitempty"`
		ActorName    string         `json:"actor_name,omitempty"`
		TaskName     string         `json:"task_name,omitempty"`
		Replica      string         `json:"replica,omitempty"`
		Decided      bool           `json:"job_decided,omitempty"`
		Epoch        uint64         `json:"epoch"`
		Lines        uint64         `json:"lines"`
		Content      uint64         `json:"content"`
		Skipped      uint64         `json:"skipped,omitempty"`
		Blank        int            `json:"blank,omitempty"`
		AfterCR      bool           `json:"after_cr,omitempty"`
		LastTime     int64          `json:"last_time_ns,omitempty"`
		Ended        bool           `json:"ended,omitempty"`
		Position     generationJSON `json:"position"`
		Recovered    *recoveredJSON `json:"recovered,omitempty"`
	}
	// generationJSON is where in which generation of a log a position is.
	generationJSON struct {
		After string  `json:"after,omitempty"`
		Own   string  `json:"own,omitempty"`
		Raw   int64   `json:"raw"`
		Head  sumJSON `json:"head,omitzero"`
		Proof sumJSON `json:"proof,omitzero"`
	}
	sumJSON struct {
		Length int    `json:"length"`
		Hash   string `json:"hash"`
	}
)

func hexOf(n uint64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatUint(n, 16)
}

func toSumJSON(s rotation.Sum) sumJSON { return sumJSON{s.Size, hexOf(s.Hash)} }

// toJSON returns what is known of a session; false if that is nothing. The caller holds the
// lock.
func (f *Files) toJSON() (j filesJSON, ok bool) {
	j = filesJSON{Session: f.session, First: f.first}
	for _, d := range f.directories {
		hash := uint64(0)
		for h := range d.done {
			hash ^= h
		}
		j.Directories = append(j.Directories, directoryJSON{d.id, d.nodes, d.decided, len(d.done), hexOf(hash)})
	}
	for _, e := range f.entries {
		if e.state == nil && e.recovered == nil {
			continue
		}
		l := FileJSON{Key: hexOf(e.hash)}
		if st := e.state; st != nil {
			p := st.At
			l = FileJSON{
				Key: l.Key, Name: st.Name, Directory: st.Directory, SubmissionID: st.SubmissionID, JobID: st.JobID, JobName: st.JobName, NodeID: st.NodeID,
				ActorName: st.ActorName, TaskName: st.TaskName, Replica: st.Replica, Decided: st.Decided, Epoch: st.Epoch, Lines: st.Lines, Content: st.Content, Skipped: st.Skipped,
				Blank: st.Blank, AfterCR: st.AfterCR, LastTime: st.LastTime, Ended: st.Ended,
				Position: generationJSON{hexOf(uint64(p.After)), hexOf(uint64(p.Own)), p.Raw, toSumJSON(p.Head), toSumJSON(p.Proof)},
			}
		}
		if e.recovered != nil {
			l.Recovered = e.recovered.toJSON()
		}
		j.Logs = append(j.Logs, l)
	}
	slices.SortFunc(j.Directories, func(a, b directoryJSON) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(j.Logs, func(a, b FileJSON) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Key, b.Key)) })
	return j, f.begun || len(j.Directories) > 0 || len(j.Logs) > 0
}
