package lines

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
)

// The content of the text does not depend on how it is cut into messages; nor do its
// newlines, once the framing is known to be a stream.
func FuzzDeframer_Stream(f *testing.F) {
	f.Add([]byte("a\nb\r\nccc\n\nd"), uint64(1))
	f.Add([]byte("Loading...\nx"), uint64(7))
	f.Fuzz(func(t *testing.T, text []byte, seed uint64) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		j := &Deframer{}
		var out []byte
		for rest := text; len(rest) > 0; {
			n := 1 + rnd.IntN(len(rest))
			var ok bool
			if out, ok = j.Append(out, rest[:n]); !ok {
				if j.Framing != FramingLines {
					t.Fatal("only FramingLines can fail")
				}
				j.Framing = FramingStream
				out, _ = j.Append(out, rest[:n])
			}
			rest = rest[n:]
		}
		out = append(out, j.held...)
		if got, want := AppendContent(nil, out), AppendContent(nil, text); !bytes.Equal(got, want) {
			t.Fatalf("the content of %q became %q", text, got)
		}
		if first := bytes.IndexByte(text, '\n'); j.Framing == FramingStream && first == 0 && !bytes.Equal(out, text) {
			t.Fatalf("%q became %q", text, out)
		}
	})
}

// The lines do not depend on how many of them a message has.
func FuzzDeframer_Lines(f *testing.F) {
	f.Add("a b  c d", uint64(1))
	f.Fuzz(func(t *testing.T, words string, seed uint64) {
		lines := strings.FieldsFunc(words, func(r rune) bool { return r == ' ' || r == '\n' || r == '\r' })
		if len(lines) < 2 {
			return
		}
		rnd := rand.New(rand.NewPCG(seed, 2))
		j := &Deframer{}
		var out []byte
		for i := 0; i < len(lines); {
			n := 1
			if i >= 2 { // the first two decide the framing
				n += rnd.IntN(min(3, len(lines)-i))
			}
			var ok bool
			if out, ok = j.Append(out, []byte(strings.Join(lines[i:i+n], "\n"))); !ok {
				t.Fatalf("%q does not fit FramingLines", lines[i:i+n])
			}
			i += n
		}
		if want := strings.Join(lines, "\n") + "\n"; string(out) != want {
			t.Fatalf("%q became %q", want, out)
		}
	})
}
