package follow

import (
	"bytes"
	"slices"
	"testing"

	"raytap/ray"
)

// cutReplay feeds a log in pieces, from its first byte again after each of the
// broken connections, and gives what came out.
func cutReplay(t *testing.T, log []byte, sizes []byte, breaks int, ends []string) []string {
	t.Helper()
	var got []string
	l := &lines{yield: func(line ray.TailLine, _ error) bool { got = append(got, line.Text); return true }}
	next := 0
	size := func() int {
		if len(sizes) == 0 {
			return 1 << 10
		}
		next++
		return 1 + int(sizes[next%len(sizes)])
	}
	for i := range breaks + 1 {
		l.begin()
		// Each connection spells line ends in its own way.
		text := log
		if end := ends[i%len(ends)]; end != "\n" {
			text = bytes.ReplaceAll(log, []byte("\n"), []byte(end))
		}
		if i < breaks {
			text = text[:len(text)*(i+1)/(breaks+1)]
		}
		for len(text) > 0 {
			n := min(len(text), size())
			if err := l.feed(text[:n], true); err != nil {
				t.Fatal(err)
			}
			text = text[n:]
		}
	}
	if err := l.finish(); err != nil {
		t.Fatal(err)
	}
	return got
}

// However a log is cut into pieces and connections, and however its lines end,
// the same lines come out, each once.
func FuzzLinesComeOnce(f *testing.F) {
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
		if got := cutReplay(t, log, sizes, breaks, []string{"\n", "\r\n", "\r"}); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestALogThatIsAnotherOneIsFound(t *testing.T) {
	l := &lines{yield: func(ray.TailLine, error) bool { return true }}
	l.begin()
	if err := l.feed([]byte("one\ntwo\nthr"), true); err != nil {
		t.Fatal(err)
	}
	l.begin()
	if err := l.feed([]byte("one\ntWo\nthree\n"), true); err != errReplaced {
		t.Errorf("%v", err)
	}
	l.begin() // shorter: nothing to say yet
	if err := l.feed([]byte("one\n"), true); err != nil {
		t.Errorf("%v", err)
	}
}

func TestALineWithoutEndIsNotKept(t *testing.T) {
	var got []ray.TailLine
	l := &lines{limits: ray.StreamLimits{MaxMessageSize: 5}, yield: func(line ray.TailLine, _ error) bool { got = append(got, line); return true }}
	l.begin()
	for range 1000 {
		if err := l.feed(bytes.Repeat([]byte("x"), 1000), true); err != nil {
			t.Fatal(err)
		}
	}
	if cap(l.line) > 1<<10 {
		t.Errorf("%d bytes are held for a line that is cut at 5", cap(l.line))
	}
	if err := l.finish(); err != nil || !slices.Equal(got, []ray.TailLine{{Text: "xxxxx", Truncated: true, Bytes: 1_000_000}}) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestAnEndlessLineMeetsTheLimitOfBytes(t *testing.T) {
	l := &lines{limits: ray.StreamLimits{MaxBytes: 10}, yield: func(ray.TailLine, error) bool { t.Error("a line came"); return true }}
	l.begin()
	err := l.feed([]byte("0123456789"), true)
	if err == nil {
		err = l.feed([]byte("x"), true)
	} else {
		t.Errorf("at the limit: %v", err)
	}
	if ray.Code(err) != 429 || l.fault(err) == nil {
		t.Errorf("%v", err)
	}
}

// messagesOf is a MessageStream of given messages.
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

func TestMessagesAreTextOrLines(t *testing.T) {
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
