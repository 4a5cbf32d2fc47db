package aggregate

import (
	"bytes"

	"raytap/lines"
	"raytap/shipper/parse"
)

const (
	// maxBlank is the maximum number of empty lines before a line that is joined.
	maxBlank = 2
	// matchSize is how many bytes of a line are matched.
	matchSize = 256
)

const (
	traceHeader = "Traceback (most recent call last):"
	groupHeader = "+ Exception Group " + traceHeader
)

// chainSeparators are what Python prints between the tracebacks of a chain.
var chainSeparators = [...]string{
	"During handling of the above exception, another exception occurred:",
	"The above exception was the direct cause of the following exception:",
}

// tracebackMatcher decides whether a line continues the lines before it: a Python traceback
// (3.11 and later also print groups of them), a chain of tracebacks, or a line that is
// followed by indented lines.
//
// All of them have to be from one worker, by the prefix that Ray writes before a worker's
// lines ("(train pid=77, ip=10.0.0.10) ").
type tracebackMatcher struct {
	state   matcherState
	prefix  []byte // of the first line
	scratch []byte
}

type matcherState uint8

const (
	statePlain matcherState = iota // after a line, or after indented lines that follow it
	stateTrace                     // in a traceback, before its last line
	stateDone                      // after the last line of a traceback, or in a group
	stateChain                     // between two tracebacks
)

// first starts with the first line of a record.
func (m *tracebackMatcher) first(text []byte) {
	prefix, s := m.split(text)
	m.prefix = append(m.prefix[:0], prefix...)
	m.state = statePlain
	if state, ok := header(s); ok {
		m.state = state
	}
}

// next reports whether a line continues the record. before is the text of its lines so
// far.
func (m *tracebackMatcher) next(l lines.Line, before []byte) bool {
	if l.Ends&lines.AfterCR != 0 || l.Blank > maxBlank {
		return false
	}
	prefix, s := m.split(l.Text)
	if len(s) == 0 || !bytes.Equal(prefix, m.prefix) {
		return false
	}
	if state, ok := header(s); ok {
		// A logger prints the traceback after its own line, which states an error; any
		// other line is not part of it.
		if m.state == stateChain || m.state == statePlain && l.Blank == 0 && isError(before) {
			m.state = state
			return true
		}
		return false
	}
	indented := s[0] == ' ' || s[0] == '\t'
	switch {
	case m.state == stateChain:
		return false
	case indented && m.state == statePlain:
		return l.Blank == 0 && !bytes.Contains(s, []byte("%|")) // a tqdm bar may begin with blanks
	case indented:
		if bytes.HasPrefix(bytes.TrimLeft(s, " "), []byte(`File "`)) {
			m.state = stateTrace
		}
		return true
	case m.state == stateTrace && isException(s):
		m.state = stateDone
		return true
	case m.state == stateDone && isChainSeparator(s):
		m.state = stateChain
		return true
	}
	return false
}

// split returns the prefix that Ray writes before a worker's line, and the start of the
// line itself, without ANSI sequences.
func (m *tracebackMatcher) split(line []byte) (prefix, s []byte) {
	n := parse.WorkerPrefixLen(line)
	prefix, s = line[:n], line[n:]
	s = s[:min(len(s), matchSize)]
	if bytes.IndexByte(s, '\x1b') >= 0 {
		m.scratch = parse.AppendWithoutANSI(m.scratch[:0], s)
		s = m.scratch
	}
	return prefix, s
}

// header reports whether s is the header of a traceback, and the state after it.
func header(s []byte) (matcherState, bool) {
	switch {
	case len(s) == 0:
	case s[0] == 'T' && bytes.HasPrefix(s, []byte(traceHeader)):
		return stateTrace, true
	case s[0] == ' ' && bytes.HasPrefix(bytes.TrimLeft(s, " "), []byte(groupHeader)):
		return stateDone, true // all lines of a group are indented
	}
	return statePlain, false
}

// isError reports whether the first line of text states the level of an error.
func isError(text []byte) bool {
	switch parse.Level(parse.FirstLine(text)) {
	case "ERROR", "CRITICAL":
		return true
	}
	return false
}

// isChainSeparator reports whether s is a line between two tracebacks of a chain.
func isChainSeparator(s []byte) bool {
	for _, m := range chainSeparators {
		if bytes.HasPrefix(s, []byte(m)) {
			return true
		}
	}
	return false
}

// isException reports whether s is the last line of a traceback: the name of an
// exception, as in "ValueError: text", "KeyboardInterrupt", "a.b.<locals>.E: text"
// or "ray.exceptions.RayTaskError(ValueError): text".
func isException(s []byte) bool {
	i := 0
	for i < len(s) && inName(s[i], i == 0) {
		i++
	}
	if i == 0 {
		return false
	}
	name, rest := s[:i], s[i:]
	if len(rest) > 0 && rest[0] == '(' {
		if k := bytes.IndexByte(rest, ')'); k > 0 && bytes.IndexByte(rest[:k], ' ') < 0 {
			rest = rest[k+1:]
		}
	}
	if len(rest) == 0 { // a single word is text unless it looks like a class
		return bytes.ContainsFunc(name, func(r rune) bool { return r >= 'A' && r <= 'Z' || r == '.' })
	}
	return rest[0] == ':'
}

// inName reports whether a byte may be part of an exception's name.
func inName(c byte, first bool) bool {
	switch {
	case c-'A' <= 'Z'-'A', c-'a' <= 'z'-'a', c == '_', c >= 0x80:
		return true
	}
	return !first && (c-'0' <= 9 || c == '.' || c == '<' || c == '>')
}
