package lines

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"

	"raytap/lines/linestest"
)

// pull returns the lines of chunks, and checks what s reports about each.
func pull(t testing.TB, s *Splitter, chunks [][]byte, flush bool) []string {
	t.Helper()
	got := []string{}
	addLine := func(size int64) {
		before := s.Position()
		l := s.Line()
		if l.Seq != before.Lines || s.Lines() != l.Seq+1 {
			t.Errorf("Seq %d at line %d", l.Seq, before.Lines)
		}
		if l.Size != size {
			t.Errorf("Next reported a line of %d bytes, Line one of %d", size, l.Size)
		}
		if l.Truncated() && len(l.Text) != s.max {
			t.Errorf("text of %d bytes for a line of %d, want %d", len(l.Text), l.Size, s.max)
		}
		got = append(got, string(l.Text))
	}
	for _, b := range chunks {
		s.Write(b)
		for {
			size, ok := s.Next()
			grows, buffered := s.Need(), s.Buffered()
			if ok {
				addLine(size)
			} else {
				s.Keep()
			}
			if s.Buffered() != buffered+grows {
				t.Errorf("Need reported %d more bytes, the buffer grew from %d to %d", grows, buffered, s.Buffered())
			}
			if !ok {
				break
			}
		}
	}
	if flush {
		if size, ok := s.Flush(); ok {
			addLine(size)
		}
	}
	return got
}

func FuzzSplitter_Chunks(f *testing.F) {
	for _, s := range []string{"", "a\n", "a\r\nb", "\r\n\r\n\rx\r", "half", "a\n\n\nb\n", "\xff\r\n\xfe\n", strings.Repeat("0123456789", 1000) + "\n"} {
		f.Add([]byte(s), uint64(1))
	}
	f.Fuzz(func(t *testing.T, b []byte, seed uint64) {
		want := linestest.Lines(b)
		c := NewSplitter(1<<20, 0)
		got := pull(t, c, linestest.Chunks(b, seed), true)
		if len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) {
			t.Fatalf("lines %q, want %q", got, want)
		}
		content := []byte(strings.Join(want, ""))
		pos := c.Position()
		if pos.Content != uint64(len(content)) || pos.Lines != uint64(len(want)) || pos.Hash.Sum64() != xxhash.Sum64(content) {
			t.Fatalf("position %d bytes %d lines, want %d and %d, or another hash", pos.Content, pos.Lines, len(content), len(want))
		}
		checkFingerprint(t, b, content, pos)
	})
}

func checkFingerprint(t *testing.T, raw, content []byte, pos Position) {
	t.Helper()
	if pos.Tail.Length > FingerprintSize || uint64(pos.Tail.Length) > pos.Content {
		t.Fatalf("fingerprint of %d bytes", pos.Tail.Length)
	}
	if pos.Content > 0 && pos.Tail.Length == 0 {
		t.Fatal("position without a fingerprint")
	}
	tail := content[len(content)-pos.Tail.Length:]
	if xxhash.Sum64(tail) != pos.Tail.Hash {
		t.Fatal("the fingerprint is not the hash of the last content bytes")
	}
	stretch := raw[pos.Tail.Start:pos.Raw]
	stripped := bytes.ReplaceAll(bytes.ReplaceAll(stretch, []byte("\n"), nil), []byte("\r"), nil)
	if !bytes.Equal(stripped, tail) {
		t.Fatalf("raw bytes %d to %d are %q, want %q", pos.Tail.Start, pos.Raw, stripped, tail)
	}
}

// FuzzSplitter_Resume cuts a log at any byte and resumes after the position with each kind
// of Verifier: no line is lost, duplicated or split.
func FuzzSplitter_Resume(f *testing.F) {
	f.Add([]byte("one\ntwo\nthree\n"), uint64(1), uint16(5))
	f.Add([]byte("a\r\nb\r\n\r\nc"), uint64(2), uint16(2))
	f.Add([]byte(strings.Repeat("x", 300)+"\n"+strings.Repeat("long line ", 900)+"\nend"), uint64(3), uint16(4000))
	f.Fuzz(func(t *testing.T, b []byte, seed uint64, at uint16) {
		cut := int(at) % (len(b) + 1)
		for _, raw := range []int64{0, UnknownOffset} {
			first := NewSplitter(1<<20, raw)
			got := pull(t, first, linestest.Chunks(b[:cut], seed), false)
			pos := first.Position()
			all := []*Verifier{VerifyAll(pos, raw)}
			if raw == 0 && pos.HasShortTail() {
				all = append(all, VerifyTail(pos))
			}
			for i, p := range all {
				src := b
				if i == 1 {
					src = b[pos.Tail.Start:]
				}
				rest, done := p.Feed(src)
				if !done || !p.OK() {
					t.Fatalf("verifier %d of %q at %d failed", i, b, cut)
				}
				second := Resume(1<<20, p)
				if p2 := second.Position(); p2.Content != pos.Content || p2.Lines != pos.Lines || p2.Hash.Sum64() != pos.Hash.Sum64() {
					t.Fatalf("resumed at another position")
				}
				lines := append(append([]string{}, got...), pull(t, second, linestest.Chunks(rest, seed+1), true)...)
				if want := linestest.Lines(b); len(lines) != len(want) || len(want) > 0 && !reflect.DeepEqual(lines, want) {
					t.Fatalf("lines %q, want %q (cut at %d, verifier %d)", lines, want, cut, i)
				}
				if raw == 0 {
					checkFingerprint(t, b, []byte(strings.Join(linestest.Lines(b), "")), second.Position())
				}
			}
		}
	})
}

func TestVerifier_OtherLog(t *testing.T) {
	log := []byte(strings.Repeat("some line of a log\n", 500))
	c := NewSplitter(1<<20, 0)
	pull(t, c, [][]byte{log}, false)
	pos := c.Position()
	for name, change := range map[string]int{"its first byte": 0, "a byte in its middle": 5000, "its last line": len(log) - 4} {
		other := bytes.Clone(log)
		other[change] ^= 1
		if p := VerifyAll(pos, 0); func() bool { _, done := p.Feed(other); return done && p.OK() }() {
			t.Errorf("a log with %s changed passes VerifyAll", name)
		}
	}
	shifted := append([]byte("\n"), log...)
	p := VerifyAll(pos, 0)
	if _, done := p.Feed(shifted); !done || p.OK() {
		t.Error("the same content at another raw offset passes VerifyAll")
	}
}

func TestSplitter_BlankLines(t *testing.T) {
	const log = "\n\r\na\r\n\r\n\nb\n\r\rc\n"
	for seed := range uint64(50) {
		var blanks []int
		s := NewSplitter(100, 0)
		for _, chunk := range linestest.Chunks([]byte(log), seed) {
			s.Write(chunk)
			for {
				if _, ok := s.Next(); !ok {
					break
				}
				blanks = append(blanks, int(s.Line().Blank))
			}
			s.Keep()
		}
		if want := []int{2, 2, 2}; !reflect.DeepEqual(blanks, want) {
			t.Fatalf("blank lines %v, want %v (seed %d)", blanks, want, seed)
		}
	}
}

func TestSplitter_LongLine(t *testing.T) {
	const size = 10 << 20
	s := NewSplitter(1000, 0)
	peak := 0
	line := bytes.Repeat([]byte("abcdefgh"), size/8)
	var got []Line
	for _, b := range linestest.Blocks(append(line, '\n'), ChunkSize) {
		s.Write(b)
		for {
			if _, ok := s.Next(); !ok {
				break
			}
			l := s.Line()
			l.Text = bytes.Clone(l.Text)
			got = append(got, l)
		}
		s.Keep()
		peak = max(peak, s.Buffered())
	}
	if len(got) != 1 || got[0].Size != size || !bytes.Equal(got[0].Text, line[:1000]) {
		t.Fatalf("a line of %d bytes came out as %d lines", size, len(got))
	}
	if peak > 1000 || s.Buffered() != 0 {
		t.Errorf("%d bytes were buffered at most and %d at the end, want at most 1000 and 0", peak, s.Buffered())
	}
	pos := s.Position()
	checkFingerprint(t, append(line, '\n'), line, pos)
	if pos.Hash.Sum64() != xxhash.Sum64(line) {
		t.Error("the hash does not cover the whole line")
	}
}

// Until Line is called the position is before the line that Next found: a limit may
// stop there.
func TestSplitter_NextConsumesNothing(t *testing.T) {
	s := NewSplitter(100, 0)
	s.Write([]byte("one\ntwo\n"))
	s.Next()
	s.Line()
	for range 3 {
		if size, ok := s.Next(); !ok || size != 3 || s.Lines() != 1 || s.Position().Raw != 3 {
			t.Fatalf("Next returned %d, %v at line %d", size, ok, s.Lines())
		}
	}
	if l := s.Line(); string(l.Text) != "two" || s.Position().Raw != 7 {
		t.Errorf("line %q, position at %d", l.Text, s.Position().Raw)
	}
}

func TestFind_RepeatedLines(t *testing.T) {
	log := ""
	for i := range 400 {
		log += fmt.Sprintf("line %d of a log that does not repeat itself\n", i)
	}
	c := NewSplitter(1000, UnknownOffset)
	pull(t, c, [][]byte{[]byte(log)}, false)
	pos := c.Position()
	window := log[len(log)-8000:] + "and one more\n"
	at, found := Find([]byte(window), &pos)
	if found != 1 || window[at:] != "\nand one more\n" {
		t.Errorf("found %d times, rest %q", found, window[at:])
	}
	tick := strings.Repeat("tick\n", 3000)
	c = NewSplitter(1000, UnknownOffset)
	pull(t, c, [][]byte{[]byte(tick)}, false)
	pos = c.Position()
	if _, found := Find([]byte(tick+"tick\n"), &pos); found < 2 {
		t.Errorf("a position in a log that repeats itself matches %d places, want several", found)
	}
}

func TestFind_LongLines(t *testing.T) {
	filler := strings.Repeat("0123456789", 3000)
	line := func(i int) string { return fmt.Sprintf("line %d %s\n", i, filler) }
	for _, max := range []int{1000, 10_000, 1 << 20} {
		c := NewSplitter(max, UnknownOffset)
		pull(t, c, linestest.Blocks([]byte(line(1)+line(2)+line(3)), ChunkSize), false)
		pos := c.Position()
		if at, found := Find([]byte(line(3)+line(4)+line(5)), &pos); found != 1 || at != len(line(3))-1 {
			t.Errorf("max %d: line 3 was found %d times, at %d", max, found, at)
		}
		if _, found := Find([]byte(line(4)+line(5)+line(6)), &pos); found != 0 {
			t.Errorf("max %d: line 3 was found %d times where it is not", max, found)
		}
	}
}
