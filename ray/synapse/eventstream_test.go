package synapse

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// parsed returns all payloads of a body, each with its event's name.
func parsed(r io.Reader) []string {
	p, all := &ssePayloads{lines: lineReader{r: r}}, []string{}
	for {
		payload, name, err := p.next()
		if err != nil {
			if err != io.EOF {
				all = append(all, err.Error())
			}
			return all
		}
		if name == plainText {
			name = "text"
		}
		if payload != nil || name != "" {
			all = append(all, strings.TrimPrefix(name+" ", " ")+string(payload))
		}
	}
}

func TestSSEPayloads(t *testing.T) {
	for _, row := range []struct {
		name, body string
		want       []string
	}{
		{"one line of data", "data: a\n\n", []string{"a"}},
		{"without a space", "data:a\n\n", []string{"a"}},
		{"only one space is removed", "data:  a\n\n", []string{" a"}},
		{"CRLF", "data: a\r\n\r\ndata: b\r\n\r\n", []string{"a", "b"}},
		{"CR", "data: a\r\rdata: b\r\r", []string{"a", "b"}},
		{"a byte order mark", "\ufeffdata: a\n\n", []string{"a"}},
		{"several lines are one event", "data: a\ndata: b\ndata\n\n", []string{"a\nb\n"}},
		{"several objects are several", "data: {\"a\":1}\ndata: {\"b\":2}\n\n", []string{`{"a":1}`, `{"b":2}`}},
		{"comments, ids and retries are ignored", ": hi\n\nid: 7\nretry: 1\ndata: a\n\n:\n\n", []string{"a"}},
		{"a name", "event: error\ndata: a\n\ndata: b\n\n", []string{"error a", "b"}},
		{"only a name", "event: complete\n\n", []string{"complete "}},
		{"an unknown field", "x: y\n", []string{"text x: y\n"}},
		{"an unknown field within", ": hi\n\nx: y\ndata: a\nz\n\n", []string{"a"}},
		{"an unterminated last event", "data: a\n\ndata: b", []string{"a", "b"}},
		{"other line separators do not split", "data: a\u2028b\u0085c\v\fd\n\n", []string{"a\u2028b\u0085c\v\fd"}},
		{"invalid UTF-8 passes", "data: a\xff\n\n", []string{"a\xff"}},
		{"plain text", "\n\none\n\ntwo\r\nthree", []string{"text one\n", "text \n", "text two\n", "text three"}},
		{"nothing", "", []string{}},
		{"one byte", "x", []string{"text x"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			for name, r := range map[string]io.Reader{"at once": strings.NewReader(row.body), "byte by byte": iotest.OneByteReader(strings.NewReader(row.body)),
				"with the end": iotest.DataErrReader(strings.NewReader(row.body))} {
				if got := parsed(r); !slices.Equal(got, row.want) {
					t.Errorf("%s: got %q, want %q", name, got, row.want)
				}
			}
		})
	}
}

// chunks reads a body in pieces of given sizes.
type chunks struct {
	body  []byte
	sizes []byte
	next  int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.body) == 0 {
		return 0, io.EOF
	}
	n := len(p)
	if len(c.sizes) > 0 {
		n = min(n, 1+int(c.sizes[c.next%len(c.sizes)]))
		c.next++
	}
	n = copy(p[:n], c.body)
	c.body = c.body[n:]
	return n, nil
}

// Any split of a body into reads yields the same payloads, and a payload of one line
// contains no line terminator.
func FuzzEventStream(f *testing.F) {
	f.Add([]byte("data: a\r\n\r\n: x\rdata:b\n\n"), []byte{0})
	f.Add([]byte("\ufeffevent: complete\n\nx"), []byte{1, 0})
	f.Add([]byte("plain\r\ntext"), []byte{2})
	f.Fuzz(func(t *testing.T, body, sizes []byte) {
		want := parsed(bytes.NewReader(body))
		if got := parsed(&chunks{body: body, sizes: sizes}); !slices.Equal(got, want) {
			t.Errorf("%q in pieces: %q, at once: %q", body, got, want)
		}
		for _, payload := range want {
			if strings.Contains(payload, "\r") {
				t.Errorf("%q: a payload with \\r: %q", body, payload)
			}
		}
	})
}

func TestSSEPayloads_EndlessLine(t *testing.T) {
	endless := readerFunc(func(p []byte) (int, error) {
		for i := range p {
			p[i] = 'x'
		}
		return len(p), nil
	})
	if got := parsed(io.MultiReader(strings.NewReader("data: "), endless)); !slices.Equal(got, []string{fmt.Sprint(errLongLine)}) {
		t.Errorf("%.60q", got)
	}
}
