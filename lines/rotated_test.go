package lines

import (
	"bytes"
	"fmt"
	"testing"
)

// FuzzSplitter_NextFile checks that a log that is cut into files anywhere has the lines of
// the whole log, and that a position in a later file is one of that file alone.
func FuzzSplitter_NextFile(f *testing.F) {
	f.Add([]byte("one\ntwo\nthree\n"), uint16(5), uint16(2), uint8(64))
	f.Add([]byte("one\ntwo\nthree\n"), uint16(3), uint16(1), uint8(64))
	f.Add(bytes.Repeat([]byte("x"), 9000), uint16(6000), uint16(100), uint8(3))
	f.Add([]byte("a long line that is cut\r\nrest\n"), uint16(10), uint16(7), uint8(4))
	f.Fuzz(func(t *testing.T, log []byte, cut, chunk uint16, limit uint8) {
		at, size := min(int(cut), len(log)), max(1, int(chunk))
		whole := collect(t, NewSplitter(int(limit), 0), log, size)
		s := NewSplitter(int(limit), 0)
		got := collect(t, s, log[:at], size)
		s.NextFile()
		rest := collect(t, s, log[at:], size)
		got = append(got, rest...)
		if fmt.Sprint(got) != fmt.Sprint(whole) {
			t.Fatalf("cut at %d: lines %q, want %q", at, got, whole)
		}
		if len(rest) == 0 {
			return
		}
		pos := s.Position()
		v := VerifyAll(pos, 0)
		if _, done := v.Feed(log[at:]); !done || !v.OK() {
			t.Fatalf("cut at %d: position %+v is not of the second file", at, pos)
		}
		if !pos.HasShortTail() {
			return
		}
		v = VerifyTail(pos)
		if _, done := v.Feed(log[at:][pos.Tail.Start:]); !done || !v.OK() {
			t.Fatalf("cut at %d: fingerprint %+v is not of the second file", at, pos.Tail)
		}
	})
}

// collect feeds a splitter in chunks, and returns the complete lines.
func collect(t *testing.T, s *Splitter, b []byte, chunk int) (out []string) {
	t.Helper()
	for len(b) > 0 {
		n := min(chunk, len(b))
		if err := s.Each(b[:n], func(l Line) error {
			out = append(out, fmt.Sprintf("%d %d %s", l.Seq, l.Size, l.Text))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		b = b[n:]
	}
	return out
}

func TestSplitter_StartFile(t *testing.T) {
	s := StartFile(100, 0, 7)
	if err := s.Each([]byte("\nnext\n"), func(l Line) error {
		if l.Seq != 7 || l.Blank != 0 || string(l.Text) != "next" {
			t.Errorf("line %+v %q, want number 7 after no empty line", l, l.Text)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
