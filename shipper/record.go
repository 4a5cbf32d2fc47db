package shipper

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"sort"
	"strconv"
	"time"
	"unicode/utf8"

	"raytap/lines"
	"raytap/ray"
	"raytap/shipper/parse"
)

// Events that records carry.
const (
	EventStart = "start" // a run's log is about to be read
	EventGap   = "gap"   // bytes were lost for good
	EventEpoch = "epoch" // the log was replaced: it is read from its start again
	EventLimit = "limit" // a stream limit was hit
	EventClock = "clock" // our clock was ahead: times go back once
	EventEnd   = "end"   // a run's log was read to its end, or given up
	// EventReopened: the log has grown after the end event of its run, and is read
	// on. Another end event follows.
	EventReopened = "reopened"
)

// ReservedKeys are the keys of records that a label may not take.
var ReservedKeys = []string{
	"time", "ray_cluster", "session", "submission_id", "job_id", "job_name", "source", "epoch",
	"seq", "level", "line_time", "message", "event", "blank", "lines", "skipped", "truncated", "bytes", "metadata",
	"node_id", "node_ip", "start_time", "at_least", "status", "content_bytes", "driver_exit_code", "complete", "limit",
	"status_message", "error_type", "head_log",
}

// encoder writes the records of one stream. It is not for concurrent use.
type encoder struct {
	head  []byte // how a record begins: {"time":"…","ray_cluster":…,"epoch":…,"seq":…
	epoch uint64
	epoAt int    // where epoch stands in head
	seqAt int    // where seq stands in head
	seq   uint64 // the last one
	tail  []byte // labels and metadata, then }\n
	last  int64  // the time of the last record, Unix nanoseconds

	shape   Shaping
	scratch []byte // a message without escape sequences

	second  int64 // the second of stamped
	stamped int64 // the time that head holds, Unix nanoseconds
}

// headSpare is room for the digits of epoch and seq (bytes).
const headSpare = 16

// newEncoder prepares the constant parts of a run's records.
func newEncoder(o *Options, session string, j ray.Job) *encoder {
	e := &encoder{second: -1, shape: o.Shaping}
	add := func(b []byte, key, value string) []byte {
		if value == "" {
			return b
		}
		b = append(b, ',', '"')
		b = append(b, key...)
		b = append(b, '"', ':', '"')
		return append(appendText(b, []byte(value)), '"')
	}
	e.head = add([]byte(stampFormat), "ray_cluster", o.Cluster)
	e.head = add(e.head, "session", session)
	e.head = add(e.head, "submission_id", j.SubmissionID)
	e.head = add(e.head, "job_id", j.JobID)
	e.head = add(e.head, "job_name", j.Name())
	e.head = append(e.head, `,"source":"driver","epoch":`...)
	e.epoAt = len(e.head)
	for _, k := range sortedKeys(o.Labels) {
		e.tail = add(e.tail, string(appendText(nil, []byte(k))), o.Labels[k])
	}
	meta := map[string]string{}
	for _, k := range o.Metadata {
		if v, ok := j.Metadata[k]; ok {
			meta[k] = v
		}
	}
	for i, k := range sortedKeys(meta) {
		e.tail = append(e.tail, []string{`,"metadata":{"`, `,"`}[min(i, 1)]...)
		e.tail = append(append(appendText(e.tail, []byte(k)), `":"`...), appendText(nil, []byte(meta[k]))...)
		e.tail = append(e.tail, '"')
	}
	if len(meta) > 0 {
		e.tail = append(e.tail, '}')
	}
	e.tail = append(e.tail, '}', '\n')
	e.setEpoch(0)
	e.head = append(make([]byte, 0, len(e.head)+headSpare), e.head...)
	return e
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

func (e *encoder) setEpoch(n uint64) {
	e.epoch = n
	e.head = strconv.AppendUint(e.head[:e.epoAt], n, 10)
	e.head = append(e.head, `,"seq":`...)
	e.seqAt = len(e.head)
}

// open begins a record. Its time is now, and at least 1 ns after the stream's
// last one, whatever the clock does.
func (e *encoder) open(b []byte, now int64, seq uint64) []byte {
	if now <= e.last {
		now = e.last + 1
	}
	e.stampTime(now)
	e.stampSeq(seq)
	e.last = now
	return append(b, e.head...)
}

// stampTime makes head begin with a time. Most records come with others, a
// nanosecond behind the last one.
func (e *encoder) stampTime(now int64) {
	sec, ns := now/1e9, now%1e9
	next := sec == e.second && now == e.stamped+1
	e.stamped = now
	if next && countUp(e.head[stampNanos:stampNanos+9]) {
		return
	}
	if sec != e.second {
		e.second = sec
		time.Unix(sec, 0).UTC().AppendFormat(e.head[:0], stampFormat)
	}
	for i := stampNanos + 8; i >= stampNanos; i-- {
		e.head[i] = byte('0' + ns%10)
		ns /= 10
	}
}

// stampSeq makes head end with a seq: mostly the one behind the last.
func (e *encoder) stampSeq(seq uint64) {
	digits := e.head[e.seqAt:]
	if len(digits) == 0 || seq != e.seq+1 || !countUp(digits) {
		e.head = strconv.AppendUint(e.head[:e.seqAt], seq, 10)
	}
	e.seq = seq
}

// countUp adds one to a decimal number. False: it has one more digit now, and
// is not written.
func countUp(digits []byte) bool {
	for i := len(digits) - 1; i >= 0; i-- {
		if digits[i] < '9' {
			digits[i]++
			return true
		}
		digits[i] = '0'
	}
	return false
}

// stampFormat is how a record begins, up to its time. The nanoseconds stand at
// stampNanos.
const (
	stampFormat = `{"time":"2006-01-02T15:04:05.000000000Z"`
	stampNanos  = len(`{"time":"2006-01-02T15:04:05.`)
)

// line appends the record of a line. skipped is how many lines before it were
// left out since the last record.
func (e *encoder) line(b []byte, now int64, l lines.Line, skipped uint64) []byte {
	b = e.open(b, now, l.Seq)
	text, first := l.Text, l.Text
	if l.Joined > 0 { // before the message: recovery reads no further
		b = appendCount(b, "lines", uint64(l.Joined))
		first = firstLine(text)
	}
	if v := parse.Level(first); v != "" {
		b = append(b, `,"level":"`...)
		b = append(b, v...)
		b = append(b, '"')
	}
	if e.shape.LineTime {
		b = e.lineTime(b, first, now)
	}
	b = append(b, `,"message":"`...)
	truncated := l.Size > int64(len(text))
	if truncated {
		text = wholeRunes(text)
	}
	if e.shape.StripANSI && bytes.IndexByte(text, '\x1b') >= 0 {
		e.scratch = parse.AppendWithoutANSI(e.scratch[:0], text)
		text = e.scratch
	}
	b = appendText(b, text)
	b = append(b, '"')
	if truncated {
		b = append(b, `,"truncated":true,"bytes":`...)
		b = strconv.AppendInt(b, l.Size, 10)
	}
	if l.Blank > 0 {
		b = append(b, `,"blank":`...)
		b = strconv.AppendInt(b, int64(l.Blank), 10)
	}
	b = appendCount(b, "skipped", skipped)
	return append(b, e.tail...)
}

func appendCount(b []byte, key string, n uint64) []byte {
	if n == 0 {
		return b
	}
	b = append(b, ',', '"')
	b = append(b, key...)
	b = append(b, '"', ':')
	return strconv.AppendUint(b, n, 10)
}

// field is one more key of an event. A nil value leaves it out.
type field struct {
	key   string
	value any // string, int64, uint64, bool
}

// event appends the record of an event. seq is the seq of the next line.
func (e *encoder) event(b []byte, now int64, seq uint64, event, message string, skipped uint64, fields ...field) []byte {
	b = e.open(b, now, seq)
	b = append(b, `,"event":"`...)
	b = append(b, event...)
	b = append(b, `","message":"`...)
	b = appendText(b, []byte(message))
	b = append(b, '"')
	b = appendCount(b, "skipped", skipped)
	for _, f := range fields {
		if f.value == nil {
			continue
		}
		b = append(b, ',', '"')
		b = append(b, f.key...)
		b = append(b, '"', ':')
		switch v := f.value.(type) {
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
	}
	return append(b, e.tail...)
}

// lineTime appends the time that a line states, if it states one. now is when
// it came, Unix nanoseconds.
func (e *encoder) lineTime(b, line []byte, now int64) []byte {
	t, ok := parse.Timestamp(line, now, e.shape.Location)
	if !ok {
		return b
	}
	b = append(b, `,"line_time":"`...)
	b = t.UTC().AppendFormat(b, time.RFC3339Nano)
	return append(b, '"')
}

// wholeRunes cuts a character off that a cut at the size limit has halved.
func wholeRunes(b []byte) []byte {
	for i := len(b) - 1; i >= 0 && i >= len(b)-utf8.UTFMax; i-- {
		if utf8.RuneStart(b[i]) {
			if !utf8.FullRune(b[i:]) {
				return b[:i]
			}
			break
		}
	}
	return b
}

const hexDigits = "0123456789abcdef"

// JSON allows both raw, and some readers of lines end a line at them (Python's
// str.splitlines, JavaScript): they would cut a record.
const (
	lineSeparator      = '\u2028'
	paragraphSeparator = '\u2029'
)

// appendText appends s as the inside of a JSON string: what is not UTF-8
// becomes U+FFFD, one for each byte; control characters and what else ends a line
// for some readers are escaped.
func appendText(b, s []byte) []byte {
	start := 0
	for i := 0; i < len(s); {
		i = plainUntil(s, i)
		if i == len(s) {
			break
		}
		c := s[i]
		if c < utf8.RuneSelf {
			b = append(b, s[start:i]...)
			b = appendEscaped(b, c)
			i++
			start = i
			continue
		}
		r, n := utf8.DecodeRune(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			b = append(b, s[start:i]...)
			b = append(b, "\uFFFD"...)
			start = i + n
		case r < 0xa0: // C1 control characters
			b = append(b, s[start:i]...)
			b = appendEscaped(b, byte(r))
			start = i + n
		case r == lineSeparator || r == paragraphSeparator:
			b = append(b, s[start:i]...)
			b = append(b, `\u202`...)
			b = append(b, hexDigits[r&15])
			start = i + n
		}
		i += n
	}
	return append(b, s[start:]...)
}

func appendEscaped(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\t':
		return append(b, '\\', 't')
	case '\n':
		return append(b, '\\', 'n')
	case '\r':
		return append(b, '\\', 'r')
	}
	return append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}

// plainUntil gives where in s, from i on, the first byte stands that is not
// printable ASCII, or that JSON needs escaped; len(s) where there is none.
func plainUntil(s []byte, i int) int {
	for ; i+32 <= len(s); i += 32 {
		w := s[i : i+32 : i+32]
		o0, o1 := oddOf8(binary.LittleEndian.Uint64(w)), oddOf8(binary.LittleEndian.Uint64(w[8:]))
		o2, o3 := oddOf8(binary.LittleEndian.Uint64(w[16:])), oddOf8(binary.LittleEndian.Uint64(w[24:]))
		if o0|o1|o2|o3 == 0 {
			continue
		}
		switch {
		case o0 != 0:
			return i + bits.TrailingZeros64(o0)/8
		case o1 != 0:
			return i + 8 + bits.TrailingZeros64(o1)/8
		case o2 != 0:
			return i + 16 + bits.TrailingZeros64(o2)/8
		}
		return i + 24 + bits.TrailingZeros64(o3)/8
	}
	for ; i+8 <= len(s); i += 8 {
		if odd := oddOf8(binary.LittleEndian.Uint64(s[i:])); odd != 0 {
			return i + bits.TrailingZeros64(odd)/8
		}
	}
	left := len(s) - i
	if left > 0 && len(s) >= 8 {
		// The last eight bytes, those before i shifted out. The zeroes that come
		// in behind the last byte are odd, and end the search there.
		odd := oddOf8(binary.LittleEndian.Uint64(s[len(s)-8:]) >> (8 * (8 - left)))
		return i + bits.TrailingZeros64(odd)/8
	}
	for i < len(s) && s[i] >= 0x20 && s[i] < 0x7f && s[i] != '"' && s[i] != '\\' {
		i++
	}
	return i
}

// oddOf8 marks, by their highest bits, those of eight bytes that are not
// printable ASCII, or that JSON needs escaped. The first mark is always right; a
// borrow can make wrong ones behind it.
func oddOf8(x uint64) uint64 {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	return (x | (x + ones) | (x - 0x20*ones) | ((x ^ '"'*ones) - ones) | ((x ^ '\\'*ones) - ones)) & highs
}
