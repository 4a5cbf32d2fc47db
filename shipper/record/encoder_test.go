package record

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"raytap/lines"
)

func testOptions() Options {
	return Options{
		Cluster: "prod", Session: "session_1", SubmissionID: "raysubmit_1", JobID: "02000000", JobName: "train",
		Labels: map[string]string{"team": "ml"}, Metadata: map[string]string{"owner": `a"b`},
	}
}

func testOrigin() Origin {
	return Origin{Log: "worker-7.out", Source: "worker", Stream: "stdout", WorkerID: "7", PID: 4711, NodeID: "n7",
		ActorName: "Trainer", TaskName: "fit", Application: "shop", Deployment: "Hello", Replica: "abc"}
}

// What raytap and Ray name is before the message, what users name is after it.
func TestEncoder_Origin(t *testing.T) {
	o := testOptions()
	o.Origin, o.Metadata = testOrigin(), nil
	e := NewEncoder(o)
	line := func(want string) {
		t.Helper()
		const head = `"session":"session_1","log":"worker-7.out","submission_id":"raysubmit_1","job_id":"02000000","job_name":"train",` +
			`"source":"worker","stream":"stdout","worker_id":"7","pid":4711,"node_id":"n7","epoch":0,"seq":3,"message":"m"`
		const tail = `,"application":"shop","deployment":"Hello","replica":"abc","team":"ml"}` + "\n"
		got := string(e.AppendLine(nil, 1e18, lines.Line{Text: []byte("m"), Size: 1, Seq: 3}, 0))
		if want = head + want + tail; !strings.HasSuffix(got, want) {
			t.Errorf("got  %swant …%s", got, want)
		}
	}
	line(`,"actor_name":"Trainer","task_name":"fit"`)
	e.SetAttribution("Trainer", "")
	line(`,"actor_name":"Trainer"`)
	e.SetAttribution("", "a much longer name of a task")
	line(`,"task_name":"a much longer name of a task"`)
	e.SetAttribution("", "")
	line("")
	e.SetAttribution(strings.Repeat("☃", 100), "") // 300 bytes; 256 end within a rune
	line(`,"actor_name":"` + strings.Repeat("☃", 85) + `"`)
	e.SetAttribution(strings.Repeat("\x80", 300), "") // not UTF-8
	line(`,"actor_name":"` + strings.Repeat("\uFFFD", 252) + `"`)
	event := string(e.AppendEvent(nil, 1e18, Event{Type: EventEnd, Fields: []Field{{"node_id", "other"}}}))
	if strings.Count(event, `"node_id"`) != 1 {
		t.Errorf("the key node_id twice in %s", event)
	}
}

func TestEncoder_AppendLine(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 123456789, time.UTC).UnixNano()
	const head, tail = `{"time":"2026-11-24T12:00:00.123456789Z","ray_cluster":"prod","session":"session_1","submission_id":"raysubmit_1",` +
		`"job_id":"02000000","job_name":"train","source":"driver","epoch":0,`, `,"team":"ml","metadata":{"owner":"a\"b"}}` + "\n"
	for name, c := range map[string]struct {
		line    lines.Line
		skipped uint64
		options func(*Options)
		want    string
	}{
		"plain": {line: lines.Line{Text: []byte("hello"), Size: 5, Seq: 1234}, want: `"seq":1234,"message":"hello"`},
		"truncated": {line: lines.Line{Text: []byte("x\xe2\x98"), Size: 99, Seq: 5, Blank: 2}, skipped: 7,
			want: `"seq":5,"message":"x","truncated":true,"bytes":99,"blank":2,"skipped":7`},
		"joined": {line: lines.Line{Text: []byte("ERROR x\nINFO y"), Size: 14, Seq: 5, Joined: 2},
			want: `"seq":5,"lines":2,"level":"ERROR","message":"ERROR x\nINFO y"`},
		"ANSI sequences": {line: lines.Line{Text: []byte("\x1b[31mINFO\x1b[0m x"), Size: 99, Seq: 5}, options: func(o *Options) { o.StripANSI = true },
			want: `"seq":5,"level":"INFO","message":"INFO x","truncated":true,"bytes":99`},
		"line time": {line: lines.Line{Text: []byte("2026-11-24 14:00:00 x"), Size: 21}, options: func(o *Options) { o.LineTime, o.Location = true, time.FixedZone("", 7200) },
			want: `"seq":0,"line_time":"2026-11-24T12:00:00Z","message":"2026-11-24 14:00:00 x"`},
		"line time in UTC": {line: lines.Line{Text: []byte("2026-11-24 14:00:00 x"), Size: 21}, options: func(o *Options) { o.LineTime = true },
			want: `"seq":0,"line_time":"2026-11-24T14:00:00Z","message":"2026-11-24 14:00:00 x"`},
	} {
		t.Run(name, func(t *testing.T) {
			o := testOptions()
			if c.options != nil {
				c.options(&o)
			}
			if got := string(NewEncoder(o).AppendLine(nil, now, c.line, c.skipped)); got != head+c.want+tail {
				t.Errorf("got  %swant %s", got, head+c.want+tail)
			}
		})
	}
}

func TestEncoder_AppendEvent(t *testing.T) {
	e := NewEncoder(testOptions())
	e.SetEpoch(3)
	got := string(e.AppendEvent(nil, 1e18, Event{Type: EventEnd, Seq: 9, Message: "done", Skipped: 7, Fields: []Field{
		{"status", "FAILED"}, {"lines", uint64(9)}, {"content_bytes", int64(99)}, {"at_least", nil}, {"complete", true},
	}}))
	want := `"epoch":3,"seq":9,"event":"end","message":"done","skipped":7,"status":"FAILED","lines":9,"content_bytes":99,"complete":true,"team":"ml",`
	if !strings.Contains(got, want) {
		t.Errorf("got %s, want %s in it", got, want)
	}
}

func TestEncoder_TimeIncreases(t *testing.T) {
	e := NewEncoder(testOptions())
	clock := []int64{2e18, 2e18, 2e18 - 5e9, 2e18 + 1, 2e18 + 999_999_999, 2e18 + 999_999_999}
	last := ""
	for i, now := range clock {
		var r struct{ Time string }
		if err := json.Unmarshal(e.AppendLine(nil, now, lines.Line{Text: []byte("x"), Size: 1}, 0), &r); err != nil {
			t.Fatal(err)
		}
		at, err := time.Parse(time.RFC3339Nano, r.Time)
		if err != nil || r.Time <= last || at.UnixNano() != e.LastTime() {
			t.Errorf("record %d: time %q after %q, LastTime %d (%v)", i, r.Time, last, e.LastTime(), err)
		}
		last = r.Time
	}
}

func TestEncoder_SeqAndEpoch(t *testing.T) {
	e := NewEncoder(testOptions())
	for _, c := range []struct{ epoch, seq uint64 }{{0, 8}, {0, 9}, {0, 10}, {0, 999}, {0, 1000}, {0, 5}, {10, 6}, {10, 7}, {9, 8}} {
		if c.epoch != e.Epoch() {
			e.SetEpoch(c.epoch)
		}
		r, err := Decode(e.AppendLine(nil, 1e18, lines.Line{Text: []byte("x"), Size: 1, Seq: c.seq}, 0))
		if err != nil || r.Seq != c.seq || r.Epoch != c.epoch {
			t.Errorf("got epoch %d, seq %d, %v; want epoch %d, seq %d", r.Epoch, r.Seq, err, c.epoch, c.seq)
		}
	}
}

// A record is one line for all readers, including Python's str.splitlines and
// JavaScript.
func TestEncoder_LineEnds(t *testing.T) {
	const ends = "a\n\r\v\f\x1c\x1d\x1e\u0085\u2028\u2029z"
	e := NewEncoder(Options{Cluster: ends, Session: ends, SubmissionID: ends, JobName: ends,
		Labels: map[string]string{"label": ends}, Metadata: map[string]string{"key": ends, "\u2028": "<&>"}})
	b := e.AppendLine(nil, 1e18, lines.Line{Text: []byte(ends), Size: int64(len(ends))}, 0)
	b = e.AppendEvent(b, 1e18, Event{Type: EventGap, Message: ends, Fields: []Field{{"node_id", ends}}})
	if n := strings.Count(string(b), "\n"); n != 2 {
		t.Errorf("%d newlines, want 2", n)
	}
	if i := strings.IndexAny(strings.ReplaceAll(string(b), "\n", ""), "\r\v\f\x1c\x1d\x1e\u0085\u2028\u2029"); i >= 0 {
		t.Errorf("unescaped line end in %q", b[i:])
	}
	for line := range strings.Lines(string(b)) {
		var r struct {
			Message, Label string
			Cluster        string `json:"ray_cluster"`
			Metadata       map[string]string
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		if r.Message != ends || r.Cluster != ends || r.Label != ends || r.Metadata["key"] != ends || r.Metadata["\u2028"] != "<&>" {
			t.Errorf("decoded %+q, want the encoded values", r)
		}
	}
}

// No key comes twice, and labels cannot use any of them.
func TestReservedKeys(t *testing.T) {
	o := testOptions()
	o.Origin, o.LineTime = testOrigin(), true
	record := NewEncoder(o).AppendLine(nil, 1e18, lines.Line{Text: []byte("ERROR 2026-11-24 14:00:00 x"), Size: 99, Blank: 1, Joined: 2}, 1)
	keys := keysIn(t, record)
	for i, key := range keys {
		if reserved := slices.Contains(ReservedKeys, key); reserved == (key == "team") || slices.Contains(keys[:i], key) {
			t.Errorf("key %s: reserved %t, keys %v", key, reserved, keys)
		}
	}
	if len(keys) < 25 {
		t.Errorf("only %d keys in %s", len(keys), record)
	}
}

func TestEncoder_Allocations(t *testing.T) {
	for _, line := range []string{"2026-11-24 12:00:00,123 INFO x", `{"ts":1795521600.25,"msg":"x"}`, "I1124 12:00:00.000001    77 a.cc:1] x", "hello"} {
		o := testOptions()
		o.LineTime, o.StripANSI = true, true
		e := NewEncoder(o)
		buf := make([]byte, 0, 1024)
		l := lines.Line{Text: []byte("\x1b[31m" + line), Size: int64(len(line))}
		e.AppendLine(buf, 1e18, l, 0)
		if n := testing.AllocsPerRun(100, func() { e.AppendLine(buf[:0], 1e18, l, 0) }); n != 0 {
			t.Errorf("AppendLine of %q allocates %v times, want 0", line, n)
		}
	}
}

func BenchmarkRecord(b *testing.B) {
	e := NewEncoder(testOptions())
	line := []byte(strings.Repeat("an ordinary line of a log, ", 8)[:200])
	buf := make([]byte, 0, 1024)
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		buf = e.AppendLine(buf[:0], 1795531932277000000, lines.Line{Text: line, Size: 200, Seq: 12345}, 0)
	}
}
