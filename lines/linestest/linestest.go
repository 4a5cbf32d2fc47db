// Package linestest states what the lines of a log are, as simply as can be, for the
// tests of packages that make lines.
package linestest

import (
	"bytes"
	"math/rand/v2"
)

// Lines returns the lines of a log: maximal runs of other bytes than \r and \n. The last
// one is a line only once its run has ended.
func Lines(log []byte) []string {
	var out []string
	for _, l := range bytes.FieldsFunc(latin1(log), func(r rune) bool { return r == '\r' || r == '\n' }) {
		var raw []byte
		for _, r := range string(l) {
			raw = append(raw, byte(r))
		}
		out = append(out, string(raw))
	}
	return out
}

// latin1 makes one rune of each byte, so that bytes that are not UTF-8 are seen.
func latin1(b []byte) []byte {
	var out []byte
	for _, c := range b {
		out = append(out, string(rune(c))...)
	}
	return out
}

// Chunks cuts b at places that the seed decides.
func Chunks(b []byte, seed uint64) [][]byte {
	r := rand.New(rand.NewPCG(seed, 1))
	var chunks [][]byte
	for len(b) > 0 {
		n := 1 + r.IntN(min(len(b), 1+r.IntN(64)))
		chunks = append(chunks, b[:n])
		b = b[n:]
	}
	return chunks
}

// Blocks cuts b into blocks of n bytes.
func Blocks(b []byte, n int) (out [][]byte) {
	for len(b) > 0 {
		m := min(len(b), n)
		out = append(out, b[:m])
		b = b[m:]
	}
	return out
}
