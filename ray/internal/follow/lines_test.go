package follow

import (
	"bytes"
	"slices"
	"testing"

	"raytap/ray"
)

// replay writes a log in chunks, from its first byte again after each of the broken
// connections, and returns the emitted lines.
func replay(t *testing.T, log []byte, sizes []byte, breaks int, ends []string) []string {
	t.Helper()
	var got []string
	e := newEmitter(ray.StreamLimits{}, func(line ray.TailLine, _ error) bool { got = append(got, line.Text); return true })
	next := 0
	size := func() int {
		if len(sizes) == 0 {
			return 1 << 10
		}
		next++
		return 1 + int(sizes[next%len(sizes)])
	}
	for i := range breaks + 1 {
		e.restart()
		// Each connection has line ends of its own.
		text := log
		if end := ends[i%len(ends)]; end != "\n" {
			text = bytes.ReplaceAll(log, []byte("\n"), []byte(end))
		}
		if i < breaks {
			text = text[:len(text)*(i+1)/(breaks+1)]
		}
		for len(text) > 0 {
			n := min(len(text), size())
			if err := e.write(text[:n], true); err != nil {
				t.Fatal(err)
			}
			text = text[n:]
		}
	}
	if err := e.finish(); err != nil {
		t.Fatal(err)
	}
	return got
}

// However a log is split into chunks and connections, and whatever its line ends, the
// same lines are emitted, each once.
func FuzzEmitter(f *testing.F) {
	f.Add([]byte("one\ntwo\n\nthree"), []byte{0, 3}, 3)
	f.Add([]byte("a\r\nb\rc\n"), []byte{1}, 1)
	f.Add([]byte("same\nsame\nsame\n"), []byte{7}, 2)
	f.Add([]byte(""), []byte{}, 0)
	f.Fuzz(func(t *testing.T, log, sizes []byte, breaks int) {
		breaks = max(0, min(breaks, 9))
		var want []string
		for _, line := range bytes.FieldsFunc(log, func(r rune) bool { return r == '\r' || r == '\n' }) {
			want = append(want, string(line))
		}
		if got := replay(t, log, sizes, breaks, []string{"\n", "\r\n", "\r"}); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestEmitter_ReplacedLog(t *testing.T) {
	e := newEmitter(ray.StreamLimits{}, func(ray.TailLine, error) bool { return true })
	e.restart()
	if err := e.write([]byte("one\ntwo\nthr"), true); err != nil {
		t.Fatal(err)
	}
	e.restart()
	if err := e.write([]byte("one\ntWo\nthree\n"), true); err != errReplaced {
		t.Errorf("a replaced log: %v", err)
	}
	e.restart()
	if err := e.write([]byte("one\n"), true); err != nil {
		t.Errorf("a log that may still grow: %v", err)
	}
}

func TestEmitter_LongLineIsTruncated(t *testing.T) {
	var got []ray.TailLine
	e := newEmitter(ray.StreamLimits{MaxMessageSize: 5}, func(line ray.TailLine, _ error) bool { got = append(got, line); return true })
	e.restart()
	for range 1000 {
		if err := e.write(bytes.Repeat([]byte("x"), 1000), true); err != nil {
			t.Fatal(err)
		}
	}
	if n := e.splitter.Buffered(); n > 1<<10 {
		t.Errorf("%d bytes are kept of a line that is truncated to 5", n)
	}
	if err := e.finish(); err != nil || !slices.Equal(got, []ray.TailLine{{Text: "xxxxx", Truncated: true, Bytes: 1_000_000}}) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestEmitter_Limits(t *testing.T) {
	for _, row := range []struct {
		name   string
		limits ray.StreamLimits
		writes []string
		want   []string
		failed bool
	}{
		{"bytes of a line without end", ray.StreamLimits{MaxBytes: 10}, []string{"0123456789", "x"}, nil, true},
		{"bytes, exactly", ray.StreamLimits{MaxBytes: 10}, []string{"01234\n", "56789\n"}, []string{"01234", "56789"}, false},
		{"bytes", ray.StreamLimits{MaxBytes: 10}, []string{"01234\n56789\nx"}, []string{"01234", "56789"}, true},
		{"lines, exactly", ray.StreamLimits{MaxLines: 2}, []string{"a\nb\n\n"}, []string{"a", "b"}, false},
		{"lines", ray.StreamLimits{MaxLines: 2}, []string{"a\nb\nc\n"}, []string{"a", "b"}, true},
		{"messages, exactly", ray.StreamLimits{MaxMessages: 2}, []string{"a", "b\nc\n", "\n"}, []string{"ab", "c"}, false},
		{"messages", ray.StreamLimits{MaxMessages: 2}, []string{"a\n", "b\n", "c"}, []string{"a", "b"}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			var got []string
			e := newEmitter(row.limits, func(line ray.TailLine, _ error) bool { got = append(got, line.Text); return true })
			var err error
			for range 2 { // what a reconnect replays does not count
				e.restart()
				for _, w := range row.writes {
					if err = e.write([]byte(w), true); err != nil {
						break
					}
				}
				if err != nil {
					break
				}
			}
			if !slices.Equal(got, row.want) || (err != nil) != row.failed || err != nil && (ray.Code(err) != 429 || fatalError(err) == nil) {
				t.Errorf("got %q, %v; want %q", got, err, row.want)
			}
		})
	}
}

// messagesOf is a MessageStream of the given messages.
type messagesOf struct {
	all [][]byte
	end error
}

func (m *messagesOf) Next() ([]byte, error) {
	if len(m.all) == 0 {
		return nil, m.end
	}
	p := m.all[0]
	m.all = m.all[1:]
	return p, nil
}

func (m *messagesOf) Close() error { return nil }

func TestMessages_Framing(t *testing.T) {
	for _, row := range []struct {
		name     string
		messages []string
		want     string
	}{
		{"newlines at once", []string{"a\n", "b"}, "a\nb"},
		{"a newline in the second", []string{"a", "b\nc", "d"}, "ab\ncd"},
		{"none in two", []string{"a", "b", "c"}, "a\nb\nc\n"},
		{"one alone", []string{"a"}, "a"},
		{"none", nil, ""},
	} {
		s := &messagesOf{end: errStopped}
		for _, m := range row.messages {
			s.all = append(s.all, []byte(m))
		}
		conn, got := Messages(s), ""
		for {
			p, _, err := conn.Next()
			got += string(p)
			if err != nil {
				break
			}
		}
		if got != row.want {
			t.Errorf("%s: %q", row.name, got)
		}
	}
}
