package cli

import (
	"strings"
	"testing"

	"github.com/mattn/go-runewidth"
)

func sample() *table {
	t := &table{columns: []column{
		{title: "ID", minWidth: 4, noEllipsis: true}, {title: "NAME", minWidth: 6}, {title: "SPARE", dropOrder: 2}, {title: "TOO", dropOrder: 1}, {title: "NUMBER", alignRight: true},
		{title: "TEXT", minWidth: 6},
	}}
	t.add(text("0123456789"), text("訓練訓練訓練"), state("FAILED"), text("x"), text("5"), text("a text that is long"))
	t.add(text("abc"), text("n"), state("RUNNING"), text("y"), text("12345678"), text(""))
	return t
}

func TestTable_Width(t *testing.T) {
	for width, want := range map[int]string{
		0: `
ID          NAME          SPARE    TOO    NUMBER  TEXT
0123456789  訓練訓練訓練  FAILED   x           5  a text that is long
abc         n             RUNNING  y    12345678
`,
		63: `
ID          NAME          SPARE    TOO    NUMBER  TEXT
0123456789  訓練訓練訓練  FAILED   x           5  a text that …
abc         n             RUNNING  y    12345678
`,
		49: `
ID         NAME    SPARE    TOO    NUMBER  TEXT
012345678  訓練…   FAILED   x           5  a tex…
abc        n       RUNNING  y    12345678
`,
		45: `
ID     NAME    SPARE    TOO    NUMBER  TEXT
01234  訓練…   FAILED   x           5  a tex…
abc    n       RUNNING  y    12345678
`,
		40: `
ID         NAME    TOO    NUMBER  TEXT
012345678  訓練…   x           5  a tex…
abc        n       y    12345678
`,
		10: `
ID    NAME      NUMBER  TEXT
0123  訓練…          5  a tex…
abc   n       12345678
`,
	} {
		got := sample().render(width, false)
		if got != want[1:] {
			t.Errorf("width %d:\n%s\nwant:%s", width, got, want)
		}
		for line := range strings.Lines(got) {
			if w := runewidth.StringWidth(strings.TrimSuffix(line, "\n")); width >= 40 && w > width {
				t.Errorf("width %d: a line is %d wide", width, w)
			}
		}
	}
}

func TestTable_Colors(t *testing.T) {
	colored := sample().render(60, true)
	for _, want := range []string{"\x1b[31mFAILED\x1b[0m", "\x1b[32mRUNNING\x1b[0m", "\x1b[1mID\x1b[0m"} {
		if !strings.Contains(colored, want) {
			t.Errorf("no %q in:\n%q", want, colored)
		}
	}
	bare := colored
	for _, code := range []string{"0", "1", "2", "31", "32", "33"} {
		bare = strings.ReplaceAll(bare, "\x1b["+code+"m", "")
	}
	if want := sample().render(60, false); bare != want {
		t.Errorf("got:\n%s\nwant:\n%s", bare, want)
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain, 訓練 é":           "plain, 訓練 é",
		"\x1b[31mred\x1b]0;t\a": `\x1b[31mred\x1b]0;t\a`,
		"two\nlines\r\nand\ta":  "two lines and a",
		"back\rover":            `back\rover`,
		"turned \u202etxet":     `turned \u202etxet`,
		"c1 \u009b31m":          `c1 \u009b31m`,
	} {
		if got := printable(in, true); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	if got := printable("two\n\x1blines", false); got != "two\n\\x1blines" {
		t.Errorf("got %q", got)
	}
}
