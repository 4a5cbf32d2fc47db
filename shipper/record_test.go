package shipper

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"raytap/lines"
	"raytap/ray"
)

func testEncoder() *encoder {
	o := Options{Cluster: "prod", Labels: map[string]string{"team": "ml"}, Metadata: []string{"owner", "absent"}}.withDefaults()
	return newEncoder(&o, "session_1", ray.Job{
		SubmissionID: "raysubmit_1", JobID: "02000000", Metadata: map[string]string{"job_name": "train", "owner": `a"b`},
	})
}

func TestARecordHasItsKeysInOrder(t *testing.T) {
	e := testEncoder()
	now := time.Date(2026, 11, 24, 12, 0, 0, 123456789, time.UTC).UnixNano()
	got := string(e.line(nil, now, lines.Line{Text: []byte("hello"), Size: 5, Seq: 1234}, 0))
	want := `{"time":"2026-11-24T12:00:00.123456789Z","ray_cluster":"prod","session":"session_1","submission_id":"raysubmit_1",` +
		`"job_id":"02000000","job_name":"train","source":"driver","epoch":0,"seq":1234,"message":"hello","team":"ml","metadata":{"owner":"a\"b"}}` + "\n"
	if got != want {
		t.Errorf("got  %swant %s", got, want)
	}
	got = string(e.line(nil, now, lines.Line{Text: []byte("x\xe2\x98"), Size: 99, Seq: 5, Blank: 2}, 7))
	if !strings.Contains(got, `"seq":5,"message":"x","truncated":true,"bytes":99,"blank":2,"skipped":7,`) {
		t.Errorf("a cut line: %s", got)
	}
	e.setEpoch(3)
	got = string(e.event(nil, now, 9, EventEnd, "done", 0, field{"status", "FAILED"}, field{"lines", uint64(9)}, field{"at_least", nil}, field{"complete", true}))
	if !strings.Contains(got, `"epoch":3,"seq":9,"event":"end","message":"done","status":"FAILED","lines":9,"complete":true,`) {
		t.Errorf("an event: %s", got)
	}
}

func TestTimeIsStrictlyIncreasingWhateverTheClockDoes(t *testing.T) {
	e := testEncoder()
	clock := []int64{2e18, 2e18, 2e18 - 5e9, 2e18 + 1, 2e18 + 999_999_999, 2e18 + 999_999_999}
	last := ""
	for i, now := range clock {
		var r struct{ Time string }
		if err := json.Unmarshal(e.line(nil, now, lines.Line{Text: []byte("x"), Size: 1}, 0), &r); err != nil {
			t.Fatal(err)
		}
		if _, err := time.Parse(time.RFC3339Nano, r.Time); err != nil || r.Time <= last {
			t.Errorf("record %d: time %q after %q (%v)", i, r.Time, last, err)
		}
		last = r.Time
	}
}

func FuzzAMessageSurvivesItsEncoding(f *testing.F) {
	for _, s := range []string{"", "plain", "tab\tquote\"back\\slash", "\x00\x1b[31m\x7f", "ünï\u2028☃😀", "\xff\xfe", "\xe2\x98", "\u0085", "0123456789abcdef\"", strings.Repeat("a", 100) + "\x01"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		enc := appendText([]byte(`"`), b)
		enc = append(enc, '"')
		if !utf8.Valid(enc) {
			t.Fatalf("%q: not UTF-8: %q", b, enc)
		}
		for _, r := range string(enc) {
			if unicode.IsControl(r) {
				t.Fatalf("%q: a control character in %q", b, enc)
			}
		}
		var got string
		if err := json.Unmarshal(enc, &got); err != nil {
			t.Fatalf("%q: %v in %q", b, err, enc)
		}
		if want := strings.ToValidUTF8(string(b), "\uFFFD"); want != got && want != collapse(got) && collapse(want) != collapse(got) {
			t.Fatalf("%q came back as %q", b, got)
		}
	})
}

// collapse makes one of several U+FFFD in a row: strings.ToValidUTF8 writes one
// for a run of bad bytes, the encoder one for each.
func collapse(s string) string {
	for strings.Contains(s, "\uFFFD\uFFFD") {
		s = strings.ReplaceAll(s, "\uFFFD\uFFFD", "\uFFFD")
	}
	return s
}

func TestReadingTimesTakesNoMemory(t *testing.T) {
	for _, line := range []string{"2026-11-24 12:00:00,123 INFO x", `{"ts":1795521600.25,"msg":"x"}`, "I1124 12:00:00.000001    77 a.cc:1] x", "hello"} {
		e := testEncoder()
		e.shape.LineTime, e.shape.StripANSI = true, true
		buf := make([]byte, 0, 1024)
		l := lines.Line{Text: []byte("\x1b[31m" + line), Size: int64(len(line))}
		e.line(buf, 1e18, l, 0)
		if n := testing.AllocsPerRun(100, func() { e.line(buf[:0], 1e18, l, 0) }); n != 0 {
			t.Errorf("%q: %v allocations", line, n)
		}
	}
}

func TestStrippingIsOfTheMessageAlone(t *testing.T) {
	e := testEncoder()
	e.shape.StripANSI = true
	got := string(e.line(nil, 1e18, lines.Line{Text: []byte("\x1b[31mINFO\x1b[0m x"), Size: 99, Seq: 5}, 0))
	if want := `"seq":5,"level":"INFO","message":"INFO x","truncated":true,"bytes":99,`; !bytes.Contains([]byte(got), []byte(want)) {
		t.Errorf("got %s", got)
	}
}

func BenchmarkRecord(b *testing.B) {
	e := testEncoder()
	line := []byte(strings.Repeat("an ordinary line of a log, ", 8)[:200])
	buf := make([]byte, 0, 1024)
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		buf = e.line(buf[:0], 1795531932277000000, lines.Line{Text: line, Size: 200, Seq: 12345}, 0)
	}
}

func BenchmarkCutter(b *testing.B) {
	chunk := []byte(strings.Repeat(strings.Repeat("x", 199)+"\n", 160))
	c := lines.NewSplitter(1<<18, 0)
	n := 0
	b.SetBytes(int64(len(chunk)))
	b.ReportAllocs()
	for b.Loop() {
		if err := splitLines(c, chunk, func(lines.Line) error { n++; return nil }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/line")
}

// The law: a record is one line for all readers of lines, Python's str.splitlines
// and JavaScript's among them, whatever stands in a line, a label or metadata.
func TestNoReaderOfLinesCutsARecord(t *testing.T) {
	const ends = "a\n\r\v\f\x1c\x1d\x1e\u0085\u2028\u2029z"
	o := &Options{Cluster: ends, Labels: map[string]string{"label": ends}, Metadata: []string{"key", "\u2028"}}
	e := newEncoder(o, ends, ray.Job{SubmissionID: ends, Metadata: map[string]string{"job_name": ends, "key": ends, "\u2028": "<&>"}})
	b := e.line(nil, 1e18, lines.Line{Text: []byte(ends), Size: int64(len(ends))}, 0)
	b = e.event(b, 1e18, 0, EventGap, ends, 0, field{"node_id", ends})
	if n := strings.Count(string(b), "\n"); n != 2 {
		t.Errorf("%d newlines", n)
	}
	if i := strings.IndexAny(strings.ReplaceAll(string(b), "\n", ""), "\r\v\f\x1c\x1d\x1e\u0085\u2028\u2029"); i >= 0 {
		t.Errorf("a raw line end in %q", b[i:])
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
			t.Errorf("read back: %+q", r)
		}
	}
}
