package shipper

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
)

// linesOf is the law, said as simply as can be: maximal runs of other bytes
// than \r and \n. The last one is a line only once its run has ended.
func linesOf(b []byte) []string {
	return strings.FieldsFunc(string(b), func(r rune) bool { return r == '\r' || r == '\n' })
}

// latin1 makes one rune a byte, so that linesOf sees bytes that are no UTF-8.
func latin1(b []byte) []byte {
	var out []byte
	for _, c := range b {
		out = append(out, string(rune(c))...)
	}
	return out
}

func wantLines(b []byte) []string {
	lines := linesOf(latin1(b))
	for i, l := range lines {
		var raw []byte
		for _, r := range l {
			raw = append(raw, byte(r))
		}
		lines[i] = string(raw)
	}
	return lines
}

// split cuts b into chunks at places that the seed decides.
func split(b []byte, seed uint64) [][]byte {
	r := rand.New(rand.NewPCG(seed, 1))
	var chunks [][]byte
	for len(b) > 0 {
		n := 1 + r.IntN(min(len(b), 1+r.IntN(64)))
		chunks = append(chunks, b[:n])
		b = b[n:]
	}
	return chunks
}

func cutAll(t testing.TB, c *cutter, chunks [][]byte, flush bool) []string {
	t.Helper()
	got := []string{}
	emit := func(l cutLine) error {
		if l.seq != c.lines-1 {
			t.Errorf("seq %d at line %d", l.seq, c.lines)
		}
		if l.size != int64(len(l.text)) && len(l.text) != c.max {
			t.Errorf("a line of %d bytes gave %d", l.size, len(l.text))
		}
		got = append(got, string(l.text))
		return nil
	}
	for _, b := range chunks {
		if err := c.feed(b, emit); err != nil {
			t.Fatal(err)
		}
	}
	if flush {
		if err := c.flush(emit); err != nil {
			t.Fatal(err)
		}
	}
	return got
}

func FuzzAnyChunksGiveTheSameLines(f *testing.F) {
	for _, s := range []string{"", "a\n", "a\r\nb", "\r\n\r\n\rx\r", "half", "a\n\n\nb\n", "\xff\r\n\xfe\n", strings.Repeat("0123456789", 1000) + "\n"} {
		f.Add([]byte(s), uint64(1))
	}
	f.Fuzz(func(t *testing.T, b []byte, seed uint64) {
		want := wantLines(b)
		c := newCutter(1<<20, 0)
		got := cutAll(t, c, split(b, seed), true)
		if len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) {
			t.Fatalf("lines %q, want %q", got, want)
		}
		content := []byte(strings.Join(want, ""))
		pos := c.position()
		if pos.content != uint64(len(content)) || pos.lines != uint64(len(want)) || pos.hash.Sum64() != xxhash.Sum64(content) {
			t.Fatalf("position %d bytes %d lines, want %d and %d, or another hash", pos.content, pos.lines, len(content), len(want))
		}
		checkAnchor(t, b, content, pos)
	})
}

func checkAnchor(t *testing.T, raw, content []byte, pos position) {
	t.Helper()
	if pos.anchor.length > anchorSize || uint64(pos.anchor.length) > pos.content {
		t.Fatalf("an anchor of %d bytes", pos.anchor.length)
	}
	if pos.content > 0 && pos.anchor.length == 0 {
		t.Fatal("a position without an anchor")
	}
	tail := content[len(content)-pos.anchor.length:]
	if xxhash.Sum64(tail) != pos.anchor.hash {
		t.Fatal("the anchor's hash is not that of the last content bytes")
	}
	stretch := raw[pos.anchor.start:pos.raw]
	stripped := bytes.ReplaceAll(bytes.ReplaceAll(stretch, []byte("\n"), nil), []byte("\r"), nil)
	if !bytes.Equal(stripped, tail) {
		t.Fatalf("the raw stretch %d to %d holds %q, want %q", pos.anchor.start, pos.raw, stripped, tail)
	}
}

// FuzzResume cuts a log at any byte and goes on behind the position by each
// kind of proof: no line is lost, doubled or torn.
func FuzzResume(f *testing.F) {
	f.Add([]byte("one\ntwo\nthree\n"), uint64(1), uint16(5))
	f.Add([]byte("a\r\nb\r\n\r\nc"), uint64(2), uint16(2))
	f.Add([]byte(strings.Repeat("x", 300)+"\n"+strings.Repeat("long line ", 900)+"\nend"), uint64(3), uint16(4000))
	f.Fuzz(func(t *testing.T, b []byte, seed uint64, at uint16) {
		cut := int(at) % (len(b) + 1)
		for _, raw := range []int64{0, unknown} {
			first := newCutter(1<<20, raw)
			got := cutAll(t, first, split(b[:cut], seed), false)
			pos := first.position()
			all := []*prover{proveAll(pos, raw)}
			if raw == 0 && pos.rereadable() {
				all = append(all, proveAnchor(pos))
			}
			for i, p := range all {
				src := b
				if i == 1 {
					src = b[pos.anchor.start:]
				}
				rest, done := p.feed(src)
				if !done || !p.proven() {
					t.Fatalf("proof %d of %q at %d failed", i, b, cut)
				}
				second := resumeCutter(1<<20, p)
				if p2 := second.position(); p2.content != pos.content || p2.lines != pos.lines || p2.hash.Sum64() != pos.hash.Sum64() {
					t.Fatalf("resumed at another position")
				}
				lines := append(append([]string{}, got...), cutAll(t, second, split(rest, seed+1), true)...)
				if want := wantLines(b); len(lines) != len(want) || len(want) > 0 && !reflect.DeepEqual(lines, want) {
					t.Fatalf("lines %q, want %q (cut at %d, proof %d)", lines, want, cut, i)
				}
				if raw == 0 {
					checkAnchor(t, b, []byte(strings.Join(wantLines(b), "")), second.position())
				}
			}
		}
	})
}

func TestAProofRefusesAnotherLog(t *testing.T) {
	log := []byte(strings.Repeat("some line of a log\n", 500))
	c := newCutter(1<<20, 0)
	cutAll(t, c, [][]byte{log}, false)
	pos := c.position()
	for name, change := range map[string]int{"its first byte": 0, "a byte in its middle": 5000, "its last line": len(log) - 4} {
		other := bytes.Clone(log)
		other[change] ^= 1
		if p := proveAll(pos, 0); func() bool { _, done := p.feed(other); return done && p.proven() }() {
			t.Errorf("a log with %s changed passes the whole proof", name)
		}
	}
	shifted := append([]byte("\n"), log...)
	p := proveAll(pos, 0)
	if _, done := p.feed(shifted); !done || p.proven() {
		t.Error("the same content at another raw offset passes")
	}
}

func TestBlankLinesAreCountedOnceHoweverTheyAreCut(t *testing.T) {
	const log = "\n\r\na\r\n\r\n\nb\n\r\rc\n"
	for seed := range uint64(50) {
		var blanks []int
		c := newCutter(100, 0)
		for _, chunk := range split([]byte(log), seed) {
			if err := c.feed(chunk, func(l cutLine) error { blanks = append(blanks, int(l.blank)); return nil }); err != nil {
				t.Fatal(err)
			}
		}
		if want := []int{2, 2, 2}; !reflect.DeepEqual(blanks, want) {
			t.Fatalf("blank lines %v, want %v (seed %d)", blanks, want, seed)
		}
	}
}

func TestALongLineCostsItsBoundAndIsCountedWhole(t *testing.T) {
	const size = 10 << 20
	c := newCutter(1000, 0)
	reserved, peak := 0, 0
	c.reserve = func(n int) error { reserved += n; peak = max(peak, reserved); return nil }
	line := bytes.Repeat([]byte("abcdefgh"), size/8)
	var got []cutLine
	emit := func(l cutLine) error { l.text = bytes.Clone(l.text); got = append(got, l); return nil }
	for _, b := range split64k(append(line, '\n')) {
		if err := c.feed(b, emit); err != nil {
			t.Fatal(err)
		}
	}
	if len(got) != 1 || got[0].size != size || !bytes.Equal(got[0].text, line[:1000]) {
		t.Fatalf("a line of %d bytes came out as %d lines", size, len(got))
	}
	if peak > 1000 || reserved != 0 {
		t.Errorf("reserved %d bytes at the most and %d at the end, want at most 1000 and 0", peak, reserved)
	}
	pos := c.position()
	checkAnchor(t, append(line, '\n'), line, pos)
	if pos.hash.Sum64() != xxhash.Sum64(line) {
		t.Error("the hash does not cover the whole line")
	}
}

func split64k(b []byte) (out [][]byte) {
	for len(b) > 0 {
		n := min(len(b), 64<<10)
		out = append(out, b[:n])
		b = b[n:]
	}
	return out
}

func TestAnAnchorIsFoundOnceOrNotTrusted(t *testing.T) {
	log := ""
	for i := range 400 {
		log += fmt.Sprintf("line %d of a log that does not repeat itself\n", i)
	}
	c := newCutter(1000, unknown)
	cutAll(t, c, [][]byte{[]byte(log)}, false)
	pos := c.position()
	window := log[len(log)-8000:] + "and one more\n"
	at, found := findPosition([]byte(window), &pos)
	if found != 1 || window[at:] != "\nand one more\n" {
		t.Errorf("found %d times, rest %q", found, window[at:])
	}
	tick := strings.Repeat("tick\n", 3000)
	c = newCutter(1000, unknown)
	cutAll(t, c, [][]byte{[]byte(tick)}, false)
	pos = c.position()
	if _, found := findPosition([]byte(tick+"tick\n"), &pos); found < 2 {
		t.Errorf("an anchor in a log that repeats itself was found %d times, want several", found)
	}
}

func TestLongLinesThatEndAlikeAreToldApart(t *testing.T) {
	filler := strings.Repeat("0123456789", 3000)
	line := func(i int) string { return fmt.Sprintf("line %d %s\n", i, filler) }
	for _, max := range []int{1000, 10_000, 1 << 20} {
		c := newCutter(max, unknown)
		cutAll(t, c, split64k([]byte(line(1)+line(2)+line(3))), false)
		pos := c.position()
		if at, found := findPosition([]byte(line(3)+line(4)+line(5)), &pos); found != 1 || at != len(line(3))-1 {
			t.Errorf("max %d: line 3 was found %d times, at %d", max, found, at)
		}
		if _, found := findPosition([]byte(line(4)+line(5)+line(6)), &pos); found != 0 {
			t.Errorf("max %d: line 3 was found %d times where it is not", max, found)
		}
	}
}
