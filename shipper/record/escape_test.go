package record

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// A message decodes to itself, except for invalid UTF-8, and its encoding is valid UTF-8
// without control characters.
func FuzzAppendText(f *testing.F) {
	for _, s := range []string{"", "plain", "tab\tquote\"back\\slash", "\x00\x1b[31m\x7f", "ünï\u2028☃😀", "\xff\xfe", "\xe2\x98", "\u0085", "0123456789abcdef\"", strings.Repeat("a", 100) + "\x01"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		enc := appendText([]byte(`"`), b)
		enc = append(enc, '"')
		if !utf8.Valid(enc) {
			t.Fatalf("appendText(%q) is not UTF-8: %q", b, enc)
		}
		for _, r := range string(enc) {
			if unicode.IsControl(r) {
				t.Fatalf("appendText(%q) has a control character: %q", b, enc)
			}
		}
		var got string
		if err := json.Unmarshal(enc, &got); err != nil {
			t.Fatalf("appendText(%q) = %q: %v", b, enc, err)
		}
		if want := strings.ToValidUTF8(string(b), "\uFFFD"); want != got && want != collapse(got) && collapse(want) != collapse(got) {
			t.Fatalf("%q decodes to %q", b, got)
		}
	})
}

// collapse replaces consecutive U+FFFD by one: strings.ToValidUTF8 writes one for a
// sequence of invalid bytes, appendText one for each.
func collapse(s string) string {
	for strings.Contains(s, "\uFFFD\uFFFD") {
		s = strings.ReplaceAll(s, "\uFFFD\uFFFD", "\uFFFD")
	}
	return s
}

func BenchmarkText(b *testing.B) {
	line := []byte(strings.Repeat(`INFO trainer.py:128 -- epoch 3: loss=0.25 "tokens/s"=18 shard=1 `, 4)[:200])
	buf := make([]byte, 0, 4096)
	b.SetBytes(200)
	for b.Loop() {
		buf = appendText(buf[:0], line)
	}
}
