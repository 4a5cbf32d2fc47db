package raytest

import (
	"slices"
	"strings"
	"testing"
)

// TestTextReader: the expected lines are those of CPython 3.11 for the same writes, each
// read to its end; "|" is the end of the file.
func TestTextReader(t *testing.T) {
	tests := []struct {
		name   string
		writes []string
		want   []string
	}{
		{"a torn \\r\\n is two line ends", []string{"abc\r", "\nd"}, []string{"abc\n", "|", "\n", "d", "|"}},
		{"a whole one is one", []string{"a\r\nb"}, []string{"a\n", "b", "|"}},
		{"\\r ends a line", []string{"a\rb\r"}, []string{"a\n", "b\n", "|"}},
		{"an incomplete character at the end", []string{"x\xe2\x98", "\x83"}, []string{"ERR"}},
		{"an invalid byte loses its chunk", []string{"ok\nbad\xff\n"}, []string{"ERR"}},
		{"a partial line", []string{"a", "b\n"}, []string{"a", "|", "b\n", "|"}},
		{"\\r, \\n and \\n one by one", []string{"\r", "\n", "\n"}, []string{"\n", "|", "\n", "|", "\n", "|"}},
		{"a character over the chunk's end", []string{strings.Repeat("x", chunkSize-1) + "\u2603\n"}, []string{strings.Repeat("x", chunkSize-1) + "\u2603\n", "|"}},
		{"\\r\\n over the chunk's end", []string{strings.Repeat("x", chunkSize-1) + "\r\ny\n"}, []string{strings.Repeat("x", chunkSize-1) + "\n", "y\n", "|"}},
		{"a surrogate", []string{"\xed\xa0\x80"}, []string{"ERR"}},
		{"NUL and escapes", []string{"\x00\x1b[0m\n"}, []string{"\x00\x1b[0m\n", "|"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &file{}
			r := &textReader{read: f.at}
			var got []string
		writes:
			for _, w := range tt.writes {
				f.data = append(f.data, w...)
				for {
					line, err := r.readline()
					if err != nil {
						got = append(got, "ERR")
						break writes
					}
					if line == "" {
						got = append(got, "|")
						break
					}
					got = append(got, line)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q\nwant %q", got, tt.want)
			}
		})
	}
	f := &file{data: []byte(strings.Repeat("a\n", 5000) + "\xff")}
	r := &textReader{read: f.at}
	for n := 0; ; n++ {
		if _, err := r.readline(); err != nil {
			if n != 4096 {
				t.Errorf("%d lines before the chunk with the invalid byte, CPython has 4096", n)
			}
			break
		}
	}
}

func TestTailOffset(t *testing.T) {
	const log = "one\ntwo\n\nhalf"
	for n, want := range map[int]string{1: "half", 2: "\nhalf", 3: "two\n\nhalf", 4: log, 5: log, 1000: log} {
		if got := log[tailOffset([]byte(log), n):]; got != want {
			t.Errorf("last %d lines: %q, want %q", n, got, want)
		}
	}
	if got := "one\ntwo\n"[tailOffset([]byte("one\ntwo\n"), 1):]; got != "two\n" {
		t.Errorf("last line: %q", got)
	}
	if tailOffset(nil, 1) != 0 {
		t.Error("empty file: offset is not 0")
	}
}

func TestBatcher(t *testing.T) {
	var b batcher
	for i := range batchLines {
		if full := b.add("x\n"); full != (i == batchLines-1) {
			t.Fatalf("full after %d lines: %t", i+1, full)
		}
	}
	if got := b.take(); got != strings.Repeat("x\n", 10) {
		t.Fatalf("took %q", got)
	}
	if b.add(strings.Repeat("☃", batchChars)) {
		t.Error("full at 20,000 characters: Ray's limit is exclusive")
	}
	if !b.add("x") {
		t.Error("not full past 20,000 characters")
	}
}
