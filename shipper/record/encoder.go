package record

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"raytap/lines"
	"raytap/shipper/parse"
)

// Options are the constant keys of a log's records, and how lines are encoded. Empty
// values are omitted.
type Options struct {
	Cluster      string // ray_cluster
	Session      string
	SubmissionID string
	JobID        string
	JobName      string
	Origin
	Labels   map[string]string // keys at the top level
	Metadata map[string]string // keys of the object "metadata"
	// ClusterLabels are further keys at the top level, which may change; nil: none.
	ClusterLabels *Labels

	LineTime   bool           // add the time that a line states as line_time
	Location   *time.Location // of times without a zone; nil: UTC
	StripANSI  bool           // remove escape sequences from messages
	Relayed    bool           // in a driver log, add what Ray says of a line of another process
	Structured bool           // add what a line of Ray's JSON logging says of what printed it
	Events     bool           // with Structured: the lines are events of Ray
}

// Origin is which log a record is of, and what printed the line. The zero value is the
// driver log of a job.
//
// What Ray or raytap names is before the message, so that recovery finds it; what a user
// names is after it, at most maxAttribute bytes each.
type Origin struct {
	// Log names the log in its session: every log but a driver's has such a name. With it
	// the log is identified by (ray_cluster, session, log), else by (ray_cluster, session,
	// submission_id).
	Log      string
	Source   string // which kind of log; "": driver
	Stream   string // stdout or stderr
	WorkerID string
	PID      int // 0: not known
	NodeID   string

	ActorName   string // changes with SetAttribution
	TaskName    string // changes with SetAttribution
	Application string // of Ray Serve, like the two that follow
	Deployment  string
	Replica     string
}

// maxAttribute is how much is kept of a value that a user chose, and that says what printed a
// line (bytes). The name of an actor can be the text of its object, of any size.
const maxAttribute = 256

// Encoder encodes the records of one log. It is not safe for concurrent use.
type Encoder struct {
	head     []byte // the beginning of a record: {"time":"…","ray_cluster":…,"epoch":…,"seq":…
	epoch    uint64
	epochPos int    // offset of epoch in head
	seqPos   int    // offset of seq in head
	seq      uint64 // in head
	has      keySet // keys of head and tail
	tail     []byte // the end of a record: actor and task, and what follows
	fixed    []byte // the end of tail that does not change: application, labels, metadata and }\n
	last     int64  // time of the last record, Unix nanoseconds

	labels  *Labels
	options lineOptions
	scratch []byte // a message without escape sequences

	second int64 // the second in head, Unix time
	nanos  int64 // the time in head, Unix nanoseconds
}

// lineOptions are the Options about what lines state.
type lineOptions struct {
	lineTime, stripANSI, relayed, structured, events bool
	location                                         *time.Location
}

// headSpare is the capacity for the digits of epoch and seq (bytes).
const headSpare = 16

// NewEncoder returns an encoder for epoch 0. It retains nothing of o but Location and
// ClusterLabels.
func NewEncoder(o Options) *Encoder {
	e := &Encoder{second: -1, labels: o.ClusterLabels, options: lineOptions{
		lineTime: o.LineTime, location: cmp.Or(o.Location, time.UTC), stripANSI: o.StripANSI,
		relayed: o.Relayed && o.Log == "", structured: o.Structured, events: o.Structured && o.Events,
	}}
	e.head = appendString([]byte(timeFormat), "ray_cluster", o.Cluster)
	e.head = appendString(e.head, "session", o.Session)
	e.head = appendString(e.head, "log", o.Log)
	e.head = appendString(e.head, "submission_id", o.SubmissionID)
	e.head = appendString(e.head, "job_id", o.JobID)
	e.head = appendString(e.head, "job_name", o.JobName)
	e.head = appendString(e.head, "source", cmp.Or(o.Source, "driver"))
	e.head = appendString(e.head, "stream", o.Stream)
	e.head = appendString(e.head, "worker_id", o.WorkerID)
	e.head = appendCount(e.head, "pid", uint64(max(o.PID, 0)))
	e.head = appendString(e.head, "node_id", o.NodeID)
	e.has = keysOf(&o)
	e.head = append(e.head, `,"epoch":`...)
	e.epochPos = len(e.head)
	e.fixed = appendEnd(nil, o)
	e.SetAttribution(o.ActorName, o.TaskName)
	e.SetEpoch(0)
	e.head = append(make([]byte, 0, len(e.head)+headSpare), e.head...)
	return e
}

// appendEnd appends what is the same at the end of all records of a log.
func appendEnd(b []byte, o Options) []byte {
	b = appendAttribute(b, "application", o.Application)
	b = appendAttribute(b, "deployment", o.Deployment)
	b = appendAttribute(b, "replica", o.Replica)
	for _, key := range slices.Sorted(maps.Keys(o.Labels)) {
		b = appendString(b, key, o.Labels[key])
	}
	for i, key := range slices.Sorted(maps.Keys(o.Metadata)) {
		b = append(b, []string{`,"metadata":{"`, `,"`}[min(i, 1)]...)
		b = append(appendText(b, []byte(key)), `":"`...)
		b = append(appendText(b, []byte(o.Metadata[key])), '"')
	}
	if len(o.Metadata) > 0 {
		b = append(b, '}')
	}
	return append(b, '}', '\n')
}

// SetAttribution sets the actor and the task of the records that follow; "" omits the key.
func (e *Encoder) SetAttribution(actorName, taskName string) {
	e.tail = appendAttribute(e.tail[:0], "actor_name", actorName)
	e.tail = appendAttribute(e.tail, "task_name", taskName)
	e.tail = append(e.tail, e.fixed...)
	e.has.set(parse.ActorName, actorName != "")
	e.has.set(parse.TaskName, taskName != "")
}

// Epoch returns the epoch of the next record.
func (e *Encoder) Epoch() uint64 { return e.epoch }

// SetEpoch sets the epoch of the records that follow.
func (e *Encoder) SetEpoch(n uint64) {
	e.epoch = n
	e.head = strconv.AppendUint(e.head[:e.epochPos], n, 10)
	e.head = append(e.head, `,"seq":`...)
	e.seqPos = len(e.head)
}

// LastTime returns the time of the last record (Unix nanoseconds); 0 if there is none.
func (e *Encoder) LastTime() int64 { return e.last }

// SetLastTime sets the time of the last record (Unix nanoseconds). The next record has
// a later one.
func (e *Encoder) SetLastTime(t int64) { e.last = t }

// AppendLine appends the record of a line to b and returns the extended slice. now is
// when the line was read (Unix nanoseconds); the record's time is at least 1 ns after
// that of the last record. skipped is the number of lines omitted since the last
// record.
func (e *Encoder) AppendLine(b []byte, now int64, l lines.Line, skipped uint64) []byte {
	if e.options.events {
		if event, ok := parse.ParseEvent(l.Text); ok && !l.Truncated() {
			return e.appendRayEvent(b, now, l, event, skipped)
		}
	}
	b = e.appendHead(b, now, l.Seq)
	first := l.Text
	if l.Joined > 0 { // before the message, so that Decode finds it
		b = appendCount(b, "lines", uint64(l.Joined))
		first = parse.FirstLine(l.Text)
	}
	if v := parse.Level(first); v != "" {
		b = append(b, `,"level":"`...)
		b = append(b, v...)
		b = append(b, '"')
	}
	if e.options.lineTime {
		if t, ok := parse.Timestamp(first, now, e.options.location); ok {
			b = append(b, `,"line_time":"`...)
			b = t.UTC().AppendFormat(b, time.RFC3339Nano)
			b = append(b, '"')
		}
	}
	b = append(b, `,"message":"`...)
	text := l.WholeText()
	if e.options.stripANSI && bytes.IndexByte(text, '\x1b') >= 0 {
		e.scratch = parse.AppendWithoutANSI(e.scratch[:0], text)
		text = e.scratch
	}
	b = appendText(b, text)
	b = append(b, '"')
	if l.Truncated() {
		b = append(b, `,"truncated":true,"bytes":`...)
		b = strconv.AppendInt(b, l.Size, 10)
	}
	b = appendCount(b, "blank", uint64(max(l.Blank, 0)))
	b = appendCount(b, "skipped", skipped)
	if mayState(first) {
		b = e.appendStated(b, first)
	}
	b = e.labels.appendTo(b)
	return append(b, e.tail...)
}

// AppendEvent appends the record of an event to b and returns the extended slice. now
// is as of AppendLine.
func (e *Encoder) AppendEvent(b []byte, now int64, event Event) []byte {
	b = e.appendHead(b, now, event.Seq)
	b = append(b, `,"event":"`...)
	b = append(b, event.Type...)
	b = append(b, `","message":"`...)
	b = appendText(b, []byte(event.Message))
	b = append(b, '"')
	b = appendCount(b, "skipped", event.Skipped)
	for _, f := range event.Fields {
		if f.Key == "node_id" && e.has.contains(parse.NodeID) {
			continue // no key comes twice
		}
		b = appendField(b, f)
	}
	b = e.labels.appendTo(b)
	return append(b, e.tail...)
}

// appendHead appends the beginning of a record.
func (e *Encoder) appendHead(b []byte, now int64, seq uint64) []byte {
	if now <= e.last {
		now = e.last + 1
	}
	e.setTime(now)
	e.setSeq(seq)
	e.last = now
	return append(b, e.head...)
}

// timeFormat is the beginning of a record, up to its time. Its nanoseconds are at
// nanosPos.
const (
	timeFormat = `{"time":"2006-01-02T15:04:05.000000000Z"`
	nanosPos   = len(`{"time":"2006-01-02T15:04:05.`)
)

// setTime writes a time to head. The time of most records is 1 ns after the last one,
// which is cheaper.
func (e *Encoder) setTime(now int64) {
	sec, ns := now/1e9, now%1e9
	next := sec == e.second && now == e.nanos+1
	e.nanos = now
	if next && incDecimal(e.head[nanosPos:nanosPos+9]) {
		return
	}
	if sec != e.second {
		e.second = sec
		time.Unix(sec, 0).UTC().AppendFormat(e.head[:0], timeFormat)
	}
	for i := nanosPos + 8; i >= nanosPos; i-- {
		e.head[i] = byte('0' + ns%10)
		ns /= 10
	}
}

// setSeq writes a seq to the end of head. Mostly it is the last one plus 1, which is
// cheaper.
func (e *Encoder) setSeq(seq uint64) {
	digits := e.head[e.seqPos:]
	if len(digits) == 0 || seq != e.seq+1 || !incDecimal(digits) {
		e.head = strconv.AppendUint(e.head[:e.seqPos], seq, 10)
	}
	e.seq = seq
}

// incDecimal adds 1 to a decimal number. It returns false, and leaves zeroes, if the
// result has one more digit.
func incDecimal(digits []byte) bool {
	for i := len(digits) - 1; i >= 0; i-- {
		if digits[i] < '9' {
			digits[i]++
			return true
		}
		digits[i] = '0'
	}
	return false
}

// appendField appends a key of an event.
func appendField(b []byte, f Field) []byte {
	if f.Value == nil {
		return b
	}
	b = appendKey(b, f.Key)
	switch v := f.Value.(type) {
	case string:
		b = append(b, '"')
		b = appendText(b, []byte(v))
		b = append(b, '"')
	case int64:
		b = strconv.AppendInt(b, v, 10)
	case uint64:
		b = strconv.AppendUint(b, v, 10)
	case bool:
		b = strconv.AppendBool(b, v)
	}
	return b
}

// appendString appends a key and its value, unless that is empty.
func appendString(b []byte, key, value string) []byte {
	if value == "" {
		return b
	}
	b = append(appendKey(b, key), '"')
	return append(appendText(b, []byte(value)), '"')
}

// appendAttribute appends a key and the beginning of its value, unless that is empty.
func appendAttribute[T string | []byte](b []byte, key string, value T) []byte {
	if len(value) == 0 {
		return b
	}
	if len(value) > maxAttribute {
		n := maxAttribute
		for n > maxAttribute-utf8.UTFMax && !utf8.RuneStart(value[n]) {
			n--
		}
		value = value[:n]
	}
	b = append(appendKey(b, key), '"')
	return append(appendText(b, []byte(value)), '"')
}

// appendCount appends a key and its value, unless that is 0.
func appendCount(b []byte, key string, n uint64) []byte {
	if n == 0 {
		return b
	}
	return strconv.AppendUint(appendKey(b, key), n, 10)
}

func appendKey(b []byte, key string) []byte {
	b = append(b, ',', '"')
	b = appendText(b, []byte(key))
	return append(b, '"', ':')
}
