package aggregate

import (
	"bytes"

	"raytap/lines"
	"raytap/shipper/parse"
)

// How lines are joined.
const (
	// joinBlank is how many empty lines may stand before a line that goes on.
	joinBlank = 2
	// joinWindow is how much of a line is looked at (bytes).
	joinWindow = 256
)

const (
	traceHeader = "Traceback (most recent call last):"
	groupHeader = "+ Exception Group " + traceHeader
)

// What Python prints between the tracebacks of a chain.
var chainSeparators = [...]string{
	"During handling of the above exception, another exception occurred:",
	"The above exception was the direct cause of the following exception:",
}

// joint decides whether a line goes on what the lines before it began: a
// traceback of Python (3.11 and later print groups of them), a chain of such,
// or any line that is followed by indented ones.
//
// All of them have to be of one worker, by the prefix that Ray puts before a
// worker's lines ("(train pid=77, ip=10.0.0.10) ").
type tracebackMatcher struct {
	state   matcherState
	prefix  []byte // of the first line
	scratch []byte
}

type matcherState uint8

const (
	statePlain matcherState = iota // a line, and indented ones behind it
	stateTrace                     // in a traceback: its last line is still to come
	stateDone                      // behind the last line of a traceback, or in a group
	stateChain                     // between two tracebacks
)

// first begins with a line.
func (j *tracebackMatcher) first(text []byte) {
	prefix, s := j.split(text)
	j.prefix = append(j.prefix[:0], prefix...)
	j.state = statePlain
	if state, ok := header(s); ok {
		j.state = state
	}
}

// next reports whether a line goes on what was begun. before is the text of all
// lines so far.
func (j *tracebackMatcher) next(l lines.Line, before []byte) bool {
	if l.Ends&lines.AfterCR != 0 || l.Blank > joinBlank {
		return false
	}
	prefix, s := j.split(l.Text)
	if len(s) == 0 || !bytes.Equal(prefix, j.prefix) {
		return false
	}
	if state, ok := header(s); ok {
		// A logger prints the traceback behind its line; others' lines are none
		// of a traceback's.
		if j.state == stateChain || j.state == statePlain && l.Blank == 0 && isError(before) {
			j.state = state
			return true
		}
		return false
	}
	indented := s[0] == ' ' || s[0] == '\t'
	switch {
	case j.state == stateChain:
		return false
	case indented && j.state == statePlain:
		return l.Blank == 0 && !bytes.Contains(s, []byte("%|")) // tqdm begins with blanks
	case indented:
		if bytes.HasPrefix(bytes.TrimLeft(s, " "), []byte(`File "`)) {
			j.state = stateTrace
		}
		return true
	case j.state == stateTrace && exception(s):
		j.state = stateDone
		return true
	case j.state == stateDone && chainMark(s):
		j.state = stateChain
		return true
	}
	return false
}

// split gives what Ray puts before a worker's line, and what the line begins
// with, without colours.
func (j *tracebackMatcher) split(line []byte) (prefix, s []byte) {
	n := parse.WorkerPrefixLen(line)
	prefix, s = line[:n], line[n:]
	s = s[:min(len(s), joinWindow)]
	if bytes.IndexByte(s, '\x1b') >= 0 {
		j.scratch = parse.AppendWithoutANSI(j.scratch[:0], s)
		s = j.scratch
	}
	return prefix, s
}

// header reports whether a traceback begins with s.
func header(s []byte) (matcherState, bool) {
	switch {
	case len(s) == 0:
	case s[0] == 'T' && bytes.HasPrefix(s, []byte(traceHeader)):
		return stateTrace, true
	case s[0] == ' ' && bytes.HasPrefix(bytes.TrimLeft(s, " "), []byte(groupHeader)):
		return stateDone, true // all that follows is indented
	}
	return statePlain, false
}

// severe reports whether the first line of some states that it is an error.
func isError(text []byte) bool {
	switch parse.Level(parse.FirstLine(text)) {
	case "ERROR", "CRITICAL":
		return true
	}
	return false
}

func chainMark(s []byte) bool {
	for _, m := range chainSeparators {
		if bytes.HasPrefix(s, []byte(m)) {
			return true
		}
	}
	return false
}

// exception reports whether s is the last line of a traceback: the name of an
// exception, as in "ValueError: text", "KeyboardInterrupt", "a.b.<locals>.E: text"
// or "ray.exceptions.RayTaskError(ValueError): text".
func exception(s []byte) bool {
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
	if len(rest) == 0 { // a word of its own is prose unless it looks like a class
		return bytes.ContainsFunc(name, func(r rune) bool { return r >= 'A' && r <= 'Z' || r == '.' })
	}
	return rest[0] == ':'
}

// inName reports whether a byte may stand in an exception's name.
func inName(c byte, first bool) bool {
	switch {
	case c-'A' <= 'Z'-'A', c-'a' <= 'z'-'a', c == '_', c >= 0x80:
		return true
	}
	return !first && (c-'0' <= 9 || c == '.' || c == '<' || c == '>')
}
