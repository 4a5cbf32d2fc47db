package parse

import "bytes"

// Relayed is what Ray adds to a line of another process that it prints to a driver's log:
//
//	(NAME pid=77, ip=10.0.0.1) the line [repeated 9x across cluster]
//
// It is the same in Ray 2.9.3, 2.40.0 and 2.60.0 (print_worker_logs in
// ray/_private/worker.py, DedupState in ray/_private/ray_logging).
type Relayed struct {
	// Name is the task or the actor of the worker: an actor's class, or the text of its
	// object, of any length and content. Of a component of Ray it is raylet, autoscaler,
	// gcs_server or runtime_env. Empty if Ray knew none.
	Name   []byte
	PID    int    // 0 of a component of Ray
	NodeIP []byte // empty on the node of the driver
	// Repeated is the number of equal lines, numbers apart, for which this one stands; 0 if
	// Ray does not say so.
	Repeated uint64
	// Text is the offset in the line of what the process printed.
	Text int
}

const (
	// relayedWindow is how much of a line is searched for the end of Ray's prefix (bytes).
	relayedWindow = 16 << 10
	// repeatedWindow is how much of the end of a line is searched for "[repeated" (bytes):
	// more than the advice that Ray adds to it once.
	repeatedWindow = 320
)

var (
	repeatedStart = []byte("[repeated ") // not with the blank before it: those are slow to search for
	repeatedEnd   = []byte("x across cluster]")
	pidKey        = []byte("pid=")
	ipKey         = []byte(", ip=")
)

// ParseRelayed returns what Ray has added to a line, and false if that is nothing. Ray adds
// no prefix if a job disables it; then only lines that stand for others can be recognised.
// Nothing distinguishes a line that a program printed in this form itself.
func ParseRelayed(line []byte) (r Relayed, ok bool) {
	if len(line) < 2 {
		return r, false
	}
	last := line[len(line)-1]
	ok = (line[0] == '(' || line[0] == '\x1b') && r.parsePrefix(line)
	if last == ']' || last == 'm' || last == ')' && ok {
		r.Repeated = repeated(line[max(r.Text, len(line)-repeatedWindow):])
	}
	return r, ok || r.Repeated > 0
}

// WorkerPrefixLen returns the length of the prefix that Ray prints before the line of another
// process ("(train pid=77, ip=10.0.0.10) "), including colours, or 0 if there is none.
func WorkerPrefixLen(line []byte) int {
	var r Relayed
	if len(line) == 0 || line[0] != '(' && line[0] != '\x1b' || !r.parsePrefix(line) {
		return 0
	}
	return r.Text
}

// parsePrefix sets all but Repeated. It returns false, and changes nothing, if the line has
// no prefix of Ray.
func (r *Relayed) parsePrefix(line []byte) bool {
	from := colourLen(line)
	s := line[from:min(len(line), from+relayedWindow)]
	if len(s) == 0 || s[0] != '(' {
		return false
	}
	// Names can contain blanks, parentheses, and what looks like the end of the prefix.
	for i := 1; ; i += len(pidKey) {
		next := bytes.Index(s[i:], pidKey)
		if next < 0 {
			break
		}
		if i += next; i > 1 && s[i-1] != ' ' {
			continue
		}
		word, ip, end, ok := prefixEnd(s[i+len(pidKey):])
		if !ok {
			continue
		}
		name, pid := s[1:max(1, i-1)], 0
		switch {
		case len(word) <= 10 && parseNumber(word) > 0:
			pid = parseNumber(word)
		case string(word) == "None": // Ray does not know it
		case len(name) == 0 && (string(word) == "gcs_server" || string(word) == "runtime_env"):
			name = word
		default:
			continue
		}
		r.Name, r.PID, r.NodeIP, r.Text = name, pid, ip, from+i+len(pidKey)+end
		return true
	}
	word, ip, end, ok := prefixEnd(s[1:]) // "(raylet) "
	n := 1
	if !ok { // "(autoscaler +1m2s) "
		var found bool
		if s, found = bytes.CutPrefix(s, []byte("(autoscaler +")); !found {
			return false
		}
		n += len("autoscaler +")
		if _, ip, end, ok = prefixEnd(s); !ok {
			return false
		}
		word = []byte("autoscaler")
	} else if string(word) != "raylet" {
		return false
	}
	r.Name, r.NodeIP, r.Text = word, ip, from+n+end
	return true
}

// prefixEnd parses the end of a prefix: a word, optionally ", ip=" and an address, the closing
// parenthesis, colours and a blank. end is the offset after it.
func prefixEnd(s []byte) (word, ip []byte, end int, ok bool) {
	n := 0
	for n < len(s) && isWordByte(s[n]) {
		n++
	}
	word = s[:n]
	if n == 0 {
		return nil, nil, 0, false
	}
	if bytes.HasPrefix(s[n:], ipKey) {
		n += len(ipKey)
		from := n
		for n < len(s) && (isWordByte(s[n]) || s[n] == '.' || s[n] == ':' || s[n] == '-') {
			n++
		}
		ip = s[from:n]
	}
	if n == len(s) || s[n] != ')' {
		return nil, nil, 0, false
	}
	n++
	n += colourLen(s[n:])
	if n == len(s) || s[n] != ' ' {
		return nil, nil, 0, false
	}
	return word, ip, n + 1, true
}

// repeated returns the number in "[repeated 9x across cluster]" near the end of a line; 0 if
// there is none. After it there are only the advice that Ray adds once, and colours.
func repeated(s []byte) uint64 {
	i := bytes.Index(s, repeatedStart)
	if i < 1 || s[i-1] != ' ' {
		return 0
	}
	n, digits := uint64(0), 0
	for s = s[i+len(repeatedStart):]; digits < len(s) && digits < 10 && isDigit(s[digits]); digits++ {
		n = 10*n + uint64(s[digits]-'0')
	}
	rest, ok := bytes.CutPrefix(s[digits:], repeatedEnd)
	if digits == 0 || !ok {
		return 0
	}
	if advice, ok := bytes.CutPrefix(rest, []byte(" (Ray deduplicates logs by default.")); ok {
		rest = advice[bytes.LastIndexByte(advice, ')')+1:]
	}
	if len(rest) > 0 && colourLen(rest) != len(rest) {
		return 0
	}
	return n
}
