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
	SubmissionID string    `json:"submission_id"`
	Epoch        uint64    `json:"epoch"`
	Seq          uint64    `json:"seq"`
	Lines        uint64    `json:"lines"`      // of a line: how many it was joined from; 0 if it is one
	Event        string    `json:"event"`      // "" for a line
	StartTime    string    `json:"start_time"` // of a start event
	NodeID       string    `json:"node_id"`    // of a start event
}

// eventWindow is how many bytes of a record are searched for the key "event".
const eventWindow = 4096

// Decode decodes a record without its newline. The record of a line may be truncated
// within its message; those of events are short. Decode returns an error for a record
// that no Encoder wrote.
func Decode(b []byte) (r Decoded, err error) {
	if bytes.Contains(b[:min(len(b), eventWindow)], []byte(`,"event":"`)) {
		if err := json.Unmarshal(b, &r); err == nil {
			return r, nil
		}
	}
	head, _, ok := bytes.Cut(b, []byte(`,"message":"`))
	if !ok {
		return r, errors.New("it has no message")
	}
	if err := json.Unmarshal(append(bytes.Clone(head), '}'), &r); err != nil {
		return r, err
	}
	if r.Cluster == "" || r.SubmissionID == "" || r.Time.IsZero() {
		return r, errors.New("it does not name a job")
	}
	return r, nil
}
