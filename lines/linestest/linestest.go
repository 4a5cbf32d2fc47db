// Package linestest has a simple reference implementation of lines, and test data, for the
// tests of packages that split logs.
package linestest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
)

// Lines returns the lines of a log: maximal runs of bytes other than \r and \n, the last
// one included.
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

// latin1 converts each byte to a rune, so that invalid UTF-8 is kept.
func latin1(b []byte) []byte {
	var out []byte
	for _, c := range b {
		out = append(out, string(rune(c))...)
	}
	return out
}

// Chunks cuts b into chunks of random sizes that depend on the seed only.
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

// Blocks cuts b into blocks of n bytes; the last one may be shorter.
func Blocks(b []byte, n int) (out [][]byte) {
	for len(b) > 0 {
		m := min(len(b), n)
		out = append(out, b[:m])
		b = b[m:]
	}
	return out
}

// BenchLog returns 160 lines of 200 bytes, about as much as one read returns.
func BenchLog() []byte {
	var b bytes.Buffer
	for i := range 160 {
		line := fmt.Sprintf(`2026-11-24 12:00:00,%03d INFO trainer.py:128 -- epoch 3 step %d: loss=0.%06d lr=3.00e-04 "tokens/s"=18%03d checkpoint=/mnt/data/run-7/ckpt-%06d`, i, i, i*77, i, i)
		for len(line) < 199 {
			line += " shard=1"
		}
		b.WriteString(line[:199] + "\n")
	}
	return b.Bytes()
}
