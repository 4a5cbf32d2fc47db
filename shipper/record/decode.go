package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"time"
)

// Decoded are the keys of a record that recovery needs.
type Decoded struct {
	Time         time.Time `json:"time"`
	Cluster      string    `json:"ray_cluster"`
	Session      string    `json:"session"`
	Log          string    `json:"log"` // "" for a driver log
	SubmissionID string    `json:"submission_id"`
	JobID        string    `json:"job_id"`
	NodeID       string    `json:"node_id"` // of a start event: the driver's node
	Epoch        uint64    `json:"epoch"`
	Seq          uint64    `json:"seq"`
	Lines        uint64    `json:"lines"`      // of a line: how many it was joined from; 0 if it is one
	Event        string    `json:"event"`      // "" for a line
	StartTime    string    `json:"start_time"` // of a start event
}

// Decode decodes a record without its newline. The record of a line may be truncated
// within its message; those of events are short. Decode returns an error for a record
// that no Encoder wrote.
//
// Only what is before the message says what the record is: after it there may be keys that
// a user named.
func Decode(b []byte) (r Decoded, err error) {
	head, _, ok := bytes.Cut(b, []byte(`,"message":"`))
	if !ok {
		return r, errors.New("it has no message")
	}
	if err := json.Unmarshal(append(bytes.Clone(head), '}'), &r); err != nil {
		return r, err
	}
	if r.Cluster == "" || r.Log == "" && r.SubmissionID == "" || r.Time.IsZero() {
		return r, errors.New("it names neither a job nor a log")
	}
	if r.Event != EventStart {
		return r, nil
	}
	var all map[string]any // by their exact names, unlike the fields of a struct
	if err := json.Unmarshal(b, &all); err != nil {
		return r, err
	}
	r.StartTime, _ = all["start_time"].(string)
	r.NodeID, _ = all["node_id"].(string)
	return r, nil
}
