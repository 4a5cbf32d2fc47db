package parse

import (
	"encoding/json"
	"strconv"
)

// Event is an event of Ray: a line of events/event_*.log. Its fields are "" or 0 where the
// line lacks them.
//
// The raylet and the GCS write host_name, pid as a text and timestamp as a number; the Jobs
// API and the autoscaler source_hostname, source_pid as a number and timestamp as a text (Ray
// 2.9.3 to 2.60.0).
type Event struct {
	ID         string
	SourceType string // RAYLET, GCS, JOBS, AUTOSCALER
	Level      string // as of Level
	Label      string // RAY_WORKER_FAILURE, "Out of Memory", …
	Message    string
	Host       string
	PID        int
	Timestamp  int64 // Unix time, seconds
	// What the event is about.
	JobID, SubmissionID, WorkerID, NodeID, NodeIP string
	// Complete: the line says nothing else.
	Complete bool
}

// ParseEvent returns the event that a line is; false if it is none: an event is a JSON object
// with an event_id and a message.
func ParseEvent(line []byte) (e Event, ok bool) {
	if len(line) == 0 || line[0] != '{' {
		return Event{}, false
	}
	object, custom := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	if json.Unmarshal(line, &object) != nil {
		return Event{}, false
	}
	fields := object["custom_fields"]
	delete(object, "custom_fields")
	var severity, pid, timestamp string
	e.Complete = take(object, map[string]*string{
		"event_id": &e.ID, "source_type": &e.SourceType, "severity": &severity, "label": &e.Label, "message": &e.Message,
		"host_name": &e.Host, "source_hostname": &e.Host, "pid": &pid, "source_pid": &pid, "timestamp": &timestamp,
	})
	if len(fields) > 0 && json.Unmarshal(fields, &custom) != nil {
		e.Complete = false
	}
	e.Complete = take(custom, map[string]*string{
		"job_id": &e.JobID, "submission_id": &e.SubmissionID, "worker_id": &e.WorkerID, "node_id": &e.NodeID, "ip": &e.NodeIP,
	}) && e.Complete
	if e.ID == "" || e.Message == "" {
		return Event{}, false
	}
	var err error
	if e.PID, err = strconv.Atoi(pid); pid != "" && (err != nil || e.PID <= 0) {
		e.PID, e.Complete = 0, false
	}
	if e.Timestamp, err = strconv.ParseInt(timestamp, 10, 64); timestamp != "" && (err != nil || e.Timestamp <= 0) {
		e.Timestamp, e.Complete = 0, false
	}
	if e.Level = levelOfWord([]byte(severity)); e.Level == "" && severity != "" {
		e.Complete = false
	}
	return e, true
}

// take sets the texts of keys, and reports whether an object has no others. A number is
// its digits.
func take(object map[string]json.RawMessage, into map[string]*string) (complete bool) {
	complete = true
	for key, value := range object {
		to := into[key]
		if to == nil || len(value) == 0 || value[0] != '"' && (value[0] < '0' || value[0] > '9') {
			complete = false
			continue
		}
		text := string(value)
		if value[0] == '"' && json.Unmarshal(value, &text) != nil {
			complete = false
			continue
		}
		*to = text
	}
	return complete
}
