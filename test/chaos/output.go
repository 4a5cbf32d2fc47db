package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// style is what a job's output looks like.
type style int

const (
	plain   style = iota
	runes         // mostly characters of several bytes
	crlf          // short lines that end with \r\n
	bars          // progress bars: many \r, few \n
	blanks        // empty lines between the others
	invalid       // bytes that are not UTF-8: only where every transport can carry them
	long          // lines over max_message_size
	traces        // tracebacks
	styles        // their number
)

// text generates numbered lines. No two lines of a job are equal, so that the oracle
// detects a line that is duplicated or out of place.
type text struct {
	rng       *rand.Rand
	style     style
	name      string
	n         int
	unprinted []byte
}

// line returns the next line with its line ends.
func (t *text) line() string {
	t.n++
	head := fmt.Sprintf("%s %d ", t.name, t.n)
	switch t.style {
	case runes:
		return head + pick(t.rng, 10+t.rng.IntN(20), []rune("äß€語🦀日本é")) + "\n"
	case crlf:
		return fmt.Sprintf("%d\r\n", t.n)
	case bars:
		if t.n%8 == 0 {
			return head + "done\n"
		}
		return fmt.Sprintf("%s[%-20s]\r", head, strings.Repeat("#", t.n%20))
	case blanks:
		return head + "x" + []string{"\n", "\n\n", "\r\r\n", "\n \n", "\r\n\r\n"}[t.rng.IntN(5)]
	case invalid:
		return head + []string{"\xff\xfe", "\xc3", "\xe2\x82", "ok"}[t.rng.IntN(4)] + " end\n"
	case traces:
		return [...]string{
			"ERROR " + head + "it failed\n", "Traceback (most recent call last):\n", fmt.Sprintf("  File %q, line %d, in f\n", t.name, t.n),
			"    " + head + "\n\n", "ValueError: " + head + "\n", head + "done\n",
		}[t.n%6]
	case long:
		if t.n%16 == 0 {
			return head + strings.Repeat("long ", maxMessage/5+t.rng.IntN(400)) + "\n"
		}
	}
	return head + pick(t.rng, 20+t.rng.IntN(100), []rune("abcdefgh ijklm\"\\\t{}")) + ".\n"
}

func pick(rng *rand.Rand, n int, from []rune) string {
	var b strings.Builder
	for range n {
		b.WriteRune(from[rng.IntN(len(from))])
	}
	return b.String()
}

// piece returns what the job prints in one write. It may end anywhere, also within a
// line, a character or a \r\n.
func (t *text) piece(lines int) string {
	for range lines {
		t.unprinted = append(t.unprinted, t.line()...)
	}
	n := len(t.unprinted)
	if t.rng.IntN(3) > 0 {
		n = t.rng.IntN(n + 1)
	}
	out := string(t.unprinted[:n])
	t.unprinted = append(t.unprinted[:0], t.unprinted[n:]...)
	return out
}

// rest returns the last output of the job. terminated: with a line end.
func (t *text) rest(terminated bool) string {
	out := string(t.unprinted) + t.line()
	t.unprinted = t.unprinted[:0]
	if !terminated {
		out = strings.TrimRight(out, "\r\n")
	}
	return out
}
