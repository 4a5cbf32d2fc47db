package raytest

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// event is one event of a recorded tail, or one received from the fake.
type event struct {
	Type    string   `json:"type"`
	Status  string   `json:"status"`
	Headers []string `json:"headers"`
	Fin     int      `json:"fin"`
	Len     int      `json:"len"`
	Code    int      `json:"code"`
	Data    string   `json:"data"`
}

func recordedEvents(t *testing.T, name string) []event {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name + ".frames.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	var events []event
	for line := range bytes.Lines(b) {
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		if e.Type != "sent_ping" && e.Type != "sent_close" {
			events = append(events, e)
		}
	}
	return events
}

// viewer is a WebSocket client that reads raw bytes.
type viewer struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func view(t *testing.T, h *Head, id string, headers ...string) (*viewer, event) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(h.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	headers = append([]string{"GET /api/jobs/" + id + "/logs/tail HTTP/1.1", "Host: x", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}, headers...)
	_, _ = io.WriteString(conn, strings.Join(headers, "\r\n")+"\r\n\r\n")
	v := &viewer{t: t, conn: conn, r: bufio.NewReader(conn)}
	e := event{Type: "handshake"}
	for {
		line, err := v.r.ReadString('\n')
		if err != nil {
			t.Fatalf("read the handshake: %v", err)
		}
		line = strings.TrimRight(line, "\r\n")
		switch {
		case line == "":
			return v, e
		case e.Status == "":
			e.Status = line
		default:
			e.Headers = append(e.Headers, line)
		}
	}
}

// next reads one frame, or the end of TCP.
func (v *viewer) next() event {
	v.t.Helper()
	var head [2]byte
	if _, err := io.ReadFull(v.r, head[:]); err == io.EOF {
		return event{Type: "tcp_eof"}
	} else if err != nil {
		v.t.Fatalf("read a frame: %v", err)
	}
	n := uint64(head[1])
	ext := map[uint64]int{126: 2, 127: 8}[n]
	b := make([]byte, 8)
	if _, err := io.ReadFull(v.r, b[8-ext:]); err != nil {
		v.t.Fatal(err)
	}
	if ext > 0 {
		n = binary.BigEndian.Uint64(b)
	}
	payload := make([]byte, n)
	if _, err := io.ReadFull(v.r, payload); err != nil {
		v.t.Fatal(err)
	}
	switch head[0] & 0x7f {
	case 1:
		return event{Type: "text", Fin: int(head[0] >> 7), Len: len(payload), Data: string(payload)}
	case 8:
		return event{Type: "close", Code: int(binary.BigEndian.Uint16(payload)), Data: string(payload[2:])}
	}
	v.t.Fatalf("frame with opcode %#x", head[0])
	return event{}
}

// same compares a recorded event with one from the fake.
func same(t *testing.T, want, got event) {
	t.Helper()
	if data, _, trimmed := strings.Cut(want.Data, "...[trimmed"); trimmed && strings.HasPrefix(got.Data, data) {
		got.Data = want.Data
	}
	if want.Type != got.Type || want.Fin != got.Fin || want.Len != got.Len || want.Code != got.Code || want.Data != got.Data {
		t.Fatalf("recorded %+v\n got %+v", want, got)
	}
}

func sameHandshake(t *testing.T, want, got event) {
	t.Helper()
	names := func(headers []string) (s []string) {
		for _, h := range headers {
			name, _, _ := strings.Cut(h, ":")
			if name != "Sec-WebSocket-Accept" && name != "Date" && name != "Server" {
				s = append(s, h)
			}
		}
		return s
	}
	if want.Status != got.Status || (strings.Contains(want.Status, "101") && strings.Join(names(want.Headers), "|") != strings.Join(names(got.Headers), "|")) {
		t.Fatalf("recorded handshake %+v\n got %+v", want, got)
	}
}

// TestRecordings_Tails prints what the recorded jobs printed, each part after the frame
// before it has arrived, and compares every frame with Ray's.
func TestRecordings_Tails(t *testing.T) {
	raw := func(s string) string { return s }
	cr := func(s string) string { return strings.ReplaceAll(s, "\n ", "\r ") }
	crlf := func(s string) string { return strings.Replace(s, "crlf line\n", "crlf line\r\n", 1) }
	tests := []struct {
		name string
		raw  func(frame string) string // what the job printed for this frame
		end  func(h *Head, j *Job)     // after the last frame
	}{
		{"tail_partial_lines", crlf, succeed},
		{"tail_tqdm_cr", cr, succeed},
		{"tail_running_to_success", raw, succeed},
		{"tail_stopped_mid_tail", raw, stopByAPI},
		{"tail_invalid_utf8", raw, func(_ *Head, j *Job) { j.Print("good\n\xff\xfe bad\n") }},
		{"tail_line_10MB", raw, func(_ *Head, j *Job) { j.Print(strings.Repeat("y", 10<<20) + "\nafter\n") }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := New(t, PollInterval(5*time.Millisecond))
			want := recordedEvents(t, tt.name)
			j := h.Submit("job-1", JobOptions{EmptyLog: true})
			v, got := view(t, h, "job-1")
			sameHandshake(t, want[0], got)
			for _, e := range want[1:] {
				if e.Type == "text" {
					j.Print(tt.raw(e.Data))
				} else if e.Type == "close" {
					tt.end(h, j)
				}
				same(t, e, v.next())
			}
		})
	}
}

func succeed(_ *Head, j *Job) { j.End("SUCCEEDED", 0) }

func stopByAPI(h *Head, j *Job) {
	res, err := http.Post(h.URL()+"/api/jobs/"+j.ID+"/stop", "", nil)
	if err == nil {
		_ = res.Body.Close()
	}
}

func TestRecordings_Replays(t *testing.T) {
	printAll := func(j *Job, events []event) {
		for _, e := range events {
			if e.Type == "text" {
				j.Print(e.Data)
			}
		}
	}
	tests := []struct {
		name    string
		prepare func(h *Head, events []event)
		headers []string
	}{
		{"tail_finished_job", func(h *Head, events []event) {
			j := h.Submit("job-1", JobOptions{EmptyLog: true})
			printAll(j, events)
			j.End("FAILED", 3)
		}, nil},
		{"tail_failed_before_start", func(h *Head, _ []event) {
			h.Submit("job-1", JobOptions{Pending: true}).End("FAILED", 1)
		}, nil},
		{"tail_split_multibyte", func(h *Head, _ []event) {
			h.Submit("job-1", JobOptions{}).Print("snow \xe2\x98")
		}, nil},
		{"tail_permessage_deflate_offered", func(h *Head, _ []event) {
			h.Submit("job-1", JobOptions{})
		}, []string{"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"}},
		{"tail_line_3_5MB", func(h *Head, events []event) {
			j := h.Submit("job-1", JobOptions{EmptyLog: true})
			j.Print(events[1].Data)
		}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := New(t, PollInterval(5*time.Millisecond))
			want := recordedEvents(t, tt.name)
			tt.prepare(h, want)
			v, got := view(t, h, "job-1", tt.headers...)
			sameHandshake(t, want[0], got)
			for _, e := range want[1:] {
				if e.Len > 1<<20 {
					h.Job("job-1").Print(strings.Repeat("y", e.Len-1) + "\n")
				} else if strings.HasPrefix(e.Data, "after") {
					h.Job("job-1").Print(e.Data)
					h.Job("job-1").End("SUCCEEDED", 0)
				}
				same(t, e, v.next())
			}
		})
	}
}

func TestRecordings_Refusals(t *testing.T) {
	tests := []struct {
		name    string
		token   string
		headers []string
	}{
		{"tail_unknown_job", "", nil},
		{"tail_auth_missing", "secret", nil},
		{"tail_auth_wrong", "secret", []string{"Authorization: Bearer wrong"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := New(t, Token(tt.token))
			want := recordedEvents(t, tt.name)
			v, got := view(t, h, "nope", tt.headers...)
			sameHandshake(t, want[0], got)
			body := make([]byte, len(want[1].Data))
			if _, err := io.ReadFull(v.r, body); err != nil || string(body) != want[1].Data {
				t.Fatalf("recorded body %q, got %q (%v)", want[1].Data, body, err)
			}
			for _, line := range got.Headers {
				if n, ok := strings.CutPrefix(line, "Content-Length: "); ok && n != strconv.Itoa(len(body)) {
					t.Fatalf("body of %s bytes, recorded %d", n, len(body))
				}
			}
		})
	}
}

// TestRecordings_Truncated: an open tail of a truncated log is silent until the file is
// longer than before, and then continues in the middle of a line.
func TestRecordings_Truncated(t *testing.T) {
	h := New(t, PollInterval(5*time.Millisecond))
	j := h.Submit("job-1", JobOptions{EmptyLog: true})
	v, _ := view(t, h, "job-1")
	j.Print("0123456789\n")
	same(t, event{Type: "text", Fin: 1, Len: 11, Data: "0123456789\n"}, v.next())
	j.TruncateLog()
	j.Print("abcdefg hij") // as long as before: nothing is sent
	j.Print("klm\n")
	same(t, event{Type: "text", Fin: 1, Len: 4, Data: "klm\n"}, v.next())
}

// TestRecordings_Renamed: an open tail continues with a renamed file; a new one stays
// open and silent.
func TestRecordings_Renamed(t *testing.T) {
	h := New(t, PollInterval(5*time.Millisecond))
	j := h.Submit("job-1", JobOptions{EmptyLog: true})
	v, _ := view(t, h, "job-1")
	j.Print("one\n")
	same(t, event{Type: "text", Fin: 1, Len: 4, Data: "one\n"}, v.next())
	j.RemoveLog()
	late, _ := view(t, h, "job-1")
	j.Print("two\n")
	same(t, event{Type: "text", Fin: 1, Len: 4, Data: "two\n"}, v.next())
	j.End("SUCCEEDED", 0)
	same(t, event{Type: "close", Code: 1000}, v.next())
	same(t, event{Type: "close", Code: 1000}, late.next())
}
