// Package record encodes the lines and events of a log as JSON records, and decodes
// records for recovery after a crash.
//
// A record is one JSON object and a newline. It contains no other character at which
// any reader of lines ends a line. The keys that recovery needs come first: before the
// message there is nothing that a program in the cluster can make long.
//
// A record is identified by ray_cluster, session, log or submission_id, epoch, seq and
// event.
package record

// Events that records carry.
const (
	EventStart = "start" // the log of a run is about to be read
	EventGap   = "gap"   // bytes were lost for good
	EventEpoch = "epoch" // the log was replaced: it is read from its start again
	EventLimit = "limit" // a stream limit was reached
	EventClock = "clock" // the host's clock was ahead: times go back once
	EventEnd   = "end"   // the log of a run was read to its end, or given up
	// EventReopened: the log has grown after the end event of its run, and reading
	// continues. Another end event follows.
	EventReopened = "reopened"
)

// ReservedKeys are the keys of records. Labels must not use them.
var ReservedKeys = []string{
	"time", "ray_cluster", "session", "submission_id", "job_id", "job_name", "source", "epoch",
	"seq", "level", "line_time", "message", "event", "blank", "lines", "skipped", "truncated", "bytes", "metadata",
	"node_id", "node_ip", "start_time", "at_least", "status", "content_bytes", "driver_exit_code", "complete", "limit",
	"status_message", "error_type", "head_log",
	"log", "logs", "stream", "worker_id", "pid", "actor_name", "task_name", "application", "deployment", "replica",
	"k8s_namespace", "owner_kind", "owner_name",
	"relayed", "worker_name", "repeated", "actor_id", "task_id", "task_func_name", "route", "request_id",
	"event_id", "source_type", "event_label", "event_host", "event_timestamp",
}

// Event is an event of a log.
type Event struct {
	Type    string // EventStart, EventGap, …
	Seq     uint64 // the seq of the next line
	Message string
	Skipped uint64  // lines omitted since the last record
	Fields  []Field // in their order
}

// Field is an additional key of an event.
type Field struct {
	Key   string
	Value any // string, int64, uint64 or bool; a nil value omits the key
}
