package record

import (
	"bytes"
	"encoding/json"

	"raytap/shipper/parse"
)

// This file adds what a line states of what printed it. These keys are after the message:
// programs choose their values.

// keySet is a set of the keys of parse.Context, and of pid.
type keySet uint16

// pidKey is pid in a keySet.
const pidKey parse.ContextKey = 15

func (s keySet) contains(k parse.ContextKey) bool { return s>>k&1 != 0 }

func (s *keySet) set(k parse.ContextKey, in bool) {
	if *s &^= 1 << k; in {
		*s |= 1 << k
	}
}

// keysOf returns the keys that all records of a log have. SetAttribution adds the others.
func keysOf(o *Options) (s keySet) {
	s.set(pidKey, o.PID > 0)
	for k, value := range map[parse.ContextKey]string{
		parse.JobID: o.JobID, parse.NodeID: o.NodeID, parse.WorkerID: o.WorkerID,
		parse.Application: o.Application, parse.Deployment: o.Deployment, parse.Replica: o.Replica,
	} {
		s.set(k, value != "")
	}
	return s
}

// mayState reports whether appendStated can find anything in a line: most lines it need not
// search.
func mayState(line []byte) bool {
	if len(line) == 0 {
		return false
	}
	first, last := line[0], line[len(line)-1]
	return first == '(' || first == '{' || first == '\x1b' || last == ']' || last == 'm'
}

// appendStated appends what Ray has added to a line of another process, and what a line of
// its JSON logging says. A key that the record has already is not appended.
func (e *Encoder) appendStated(b, line []byte) []byte {
	has := e.has
	if e.options.relayed {
		if r, ok := parse.ParseRelayed(line); ok {
			b = append(b, `,"relayed":true`...)
			b = appendAttribute(b, "worker_name", r.Name)
			if r.PID > 0 && !has.contains(pidKey) {
				b = appendCount(b, "pid", uint64(r.PID))
				has.set(pidKey, true)
			}
			b = appendAttribute(b, "node_ip", r.NodeIP)
			b = appendCount(b, "repeated", r.Repeated)
			line = line[r.Text:]
		}
	}
	if e.options.structured && len(line) > 0 && line[0] == '{' {
		return appendContext(b, line, has)
	}
	return b
}

// appendContext appends what a line of Ray's JSON logging says, but for the keys in has.
func appendContext(b, line []byte, has keySet) []byte {
	var c parse.Context
	if !c.Parse(line) {
		return b
	}
	if c.PID > 0 && !has.contains(pidKey) {
		b = appendCount(b, "pid", uint64(c.PID))
	}
	for i, value := range c.Values {
		if k := parse.ContextKey(i); len(value) > 0 && !has.contains(k) {
			b = appendAttribute(b, k.String(), unescape(value))
		}
	}
	return b
}

// unescape returns the text of which s is the JSON form, without quotes; nil if s is not JSON.
func unescape(s []byte) []byte {
	if bytes.IndexByte(s, '\\') < 0 {
		return s
	}
	var text string
	if json.Unmarshal(append(append([]byte{'"'}, s...), '"'), &text) != nil {
		return nil
	}
	return []byte(text)
}
