package record

import (
	"strconv"
	"time"

	"raytap/lines"
	"raytap/shipper/parse"
)

// appendRayEvent appends the record of a line that is an event of Ray. Its message is the
// event's, and its keys are the event's; if the event says more than these, its message is
// the whole line, so that nothing is lost.
func (e *Encoder) appendRayEvent(b []byte, now int64, l lines.Line, event parse.Event, skipped uint64) []byte {
	b = e.appendHead(b, now, l.Seq)
	b = appendString(b, "level", event.Level)
	if e.options.lineTime && event.Timestamp > 0 {
		b = append(b, `,"line_time":"`...)
		b = time.Unix(event.Timestamp, 0).UTC().AppendFormat(b, time.RFC3339Nano)
		b = append(b, '"')
	}
	b = append(b, `,"message":"`...)
	if event.Complete {
		b = appendText(b, []byte(event.Message))
	} else {
		b = appendText(b, l.Text)
	}
	b = append(b, '"')
	b = appendCount(b, "blank", uint64(max(l.Blank, 0)))
	b = appendCount(b, "skipped", skipped)
	b = appendAttribute(b, "event_id", event.ID)
	b = appendAttribute(b, "source_type", event.SourceType)
	b = appendAttribute(b, "event_label", event.Label)
	b = appendAttribute(b, "event_host", event.Host)
	if event.Timestamp > 0 {
		b = append(b, `,"event_timestamp":`...)
		b = strconv.AppendInt(b, event.Timestamp, 10)
	}
	if !e.has.contains(pidKey) {
		b = appendCount(b, "pid", uint64(event.PID))
	}
	for _, about := range []struct {
		key   parse.ContextKey
		value string
	}{{parse.JobID, event.JobID}, {parse.NodeID, event.NodeID}, {parse.WorkerID, event.WorkerID}} {
		if !e.has.contains(about.key) {
			b = appendAttribute(b, about.key.String(), about.value)
		}
	}
	b = appendAttribute(b, "submission_id", event.SubmissionID)
	b = appendAttribute(b, "node_ip", event.NodeIP)
	b = e.labels.appendTo(b)
	return append(b, e.tail...)
}
