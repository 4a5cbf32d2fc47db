package parse

import (
	"bytes"
	"testing"
)

func TestAppendWithoutANSI(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                                    "plain",
		"\x1b[31mred\x1b[0m":                       "red",
		"\x1b[1;38;5;200mx\x1b[m":                  "x",
		"\x1b[2K\x1b[1Gx\x1b[?25l":                 "x",
		"\x1b]0;a title\ax":                        "x",
		"\x1b]8;;http://a\x1b\\link\x1b]8;;\x1b\\": "link",
		"\x1bPdata\x1b\\x":                         "x",
		"\x1b(Bx\x1b7y\x1bM":                       "xy",
		"\x1b[31":                                  "\x1b[31",
		"\x1b]0;never ends":                        "\x1b]0;never ends",
		"\x1b":                                     "\x1b",
		"\x1b\x1b[31mx":                            "\x1bx",
		"\x1b[31\x01mx":                            "\x1b[31\x01mx",
		"\u2603\x1b[0m\u2603":                      "\u2603\u2603",
		"\x1b]0;\x1b[31mno string holds a sequence\a.": "\x1b]0;no string holds a sequence\a.",
	} {
		if got := string(AppendWithoutANSI(nil, []byte(in))); got != want {
			t.Errorf("AppendWithoutANSI(nil, %q) = %q, want %q", in, got, want)
		}
	}
}

// The output is a subsequence of the line, and a line without escape characters does
// not change.
func FuzzAppendWithoutANSI(f *testing.F) {
	for _, s := range []string{"a\x1b[31mb", "\x1b]0;t\ax", "\x1b", "\x1b[", "\x1b(", "x\x1b]8;;u\x1b\\y"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		got := AppendWithoutANSI(nil, line)
		if bytes.IndexByte(line, '\x1b') < 0 && !bytes.Equal(got, line) {
			t.Fatalf("AppendWithoutANSI(nil, %q) = %q", line, got)
		}
		rest := line
		for _, c := range got {
			i := bytes.IndexByte(rest, c)
			if i < 0 {
				t.Fatalf("AppendWithoutANSI(nil, %q) = %q", line, got)
			}
			rest = rest[i+1:]
		}
	})
}
