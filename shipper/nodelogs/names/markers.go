package names

import (
	"bytes"
	"strings"
)

// Marker is a line that Ray writes into a worker's logs, .out and .err, to say to whom the
// lines behind it belong.
type Marker int

// The markers, by the beginnings of their lines.
const (
	NoMarker Marker = iota
	JobMarker
	ActorMarker
	TaskMarker
)

var markers = []struct {
	marker Marker
	prefix []byte
}{
	{JobMarker, []byte(":job_id:")},
	{ActorMarker, []byte(":actor_name:")},
	{TaskMarker, []byte(":task_name:")},
}

// ParseMarker returns the marker that a whole line is, and its value; NoMarker for any
// other line. A marker behind other text in the same line is text: a program has printed
// that text without a line end.
func ParseMarker(line []byte) (Marker, string) {
	if len(line) == 0 || line[0] != ':' {
		return NoMarker, ""
	}
	for _, m := range markers {
		if value, ok := bytes.CutPrefix(line, m.prefix); ok {
			return m.marker, string(value)
		}
	}
	return NoMarker, ""
}

// ServeReplica returns the application and the deployment of a replica of Ray Serve from
// the name of its actor, ServeReplica:<application>:<deployment>. ok is false for other
// actors.
func ServeReplica(actor string) (application, deployment string, ok bool) {
	rest, ok := strings.CutPrefix(actor, "ServeReplica:")
	if !ok {
		return "", "", false
	}
	return strings.Cut(rest, ":")
}
