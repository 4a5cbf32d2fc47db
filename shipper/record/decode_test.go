package record

import (
	"strings"
	"testing"
	"time"

	"raytap/lines"
)

func TestDecode(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 1, time.UTC)
	id := Decoded{Time: now, Cluster: "prod", Session: "session_1", SubmissionID: "raysubmit_1", JobID: "02000000", Epoch: 2, Seq: 7}
	encode := func(f func(*Encoder) []byte) string {
		e := NewEncoder(testOptions())
		e.SetEpoch(2)
		return strings.TrimSuffix(string(f(e)), "\n")
	}
	line := encode(func(e *Encoder) []byte {
		return e.AppendLine(nil, now.UnixNano(), lines.Line{Text: []byte(`a ,"event":"end" b`), Size: 18, Seq: 7}, 0)
	})
	joined := encode(func(e *Encoder) []byte {
		return e.AppendLine(nil, now.UnixNano(), lines.Line{Text: []byte("a\nb"), Size: 3, Seq: 7, Joined: 2}, 0)
	})
	start := encode(func(e *Encoder) []byte {
		return e.AppendEvent(nil, now.UnixNano(), Event{Type: EventStart, Seq: 7, Message: "m", Fields: []Field{{"node_id", "n"}, {"start_time", "t"}}})
	})
	worker := func(f func(*Encoder) []byte) string {
		o := testOptions()
		o.SubmissionID, o.Origin = "", testOrigin()
		o.ActorName = strings.Repeat(`a","event":"end`, 1000)
		o.Labels = map[string]string{"Event": "end", "Seq": "x", "Start_Time": "x"} // decoders that ignore case take them for the keys
		e := NewEncoder(o)
		e.SetEpoch(2)
		return strings.TrimSuffix(string(f(e)), "\n")
	}
	workerLine := worker(func(e *Encoder) []byte {
		return e.AppendLine(nil, now.UnixNano(), lines.Line{Text: []byte(`{"event":"start","seq":1}`), Size: 25, Seq: 7}, 0)
	})
	workerEnd := worker(func(e *Encoder) []byte {
		return e.AppendEvent(nil, now.UnixNano(), Event{Type: EventEnd, Seq: 7, Message: "m", Fields: []Field{{"lines", uint64(9)}}})
	})
	workerStart := worker(func(e *Encoder) []byte {
		return e.AppendEvent(nil, now.UnixNano(), Event{Type: EventStart, Seq: 7, Message: "m", Fields: []Field{{"start_time", "t"}}})
	})
	of := func(change func(*Decoded)) Decoded { d := id; change(&d); return d }
	for name, c := range map[string]struct {
		record string
		want   Decoded
	}{
		"line":                  {line, id},
		"truncated line":        {line[:strings.Index(line, `"message":"`)+len(`"message":"a`)], id},
		"joined lines":          {joined, of(func(d *Decoded) { d.Lines = 2 })},
		"start event":           {start, of(func(d *Decoded) { d.Event, d.NodeID, d.StartTime = "start", "n", "t" })},
		"line of a worker":      {workerLine, of(func(d *Decoded) { d.SubmissionID, d.Log, d.NodeID = "", "worker-7.out", "n7" })},
		"end of a worker's log": {workerEnd, of(func(d *Decoded) { d.SubmissionID, d.Log, d.NodeID, d.Event = "", "worker-7.out", "n7", "end" })},
		"start of a worker's log": {workerStart, of(func(d *Decoded) {
			d.SubmissionID, d.Log, d.NodeID, d.Event, d.StartTime = "", "worker-7.out", "n7", "start", "t"
		})},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := Decode([]byte(c.record)); err != nil || got != c.want {
				t.Errorf("Decode(%s) = %+v, %v; want %+v", c.record, got, err, c.want)
			}
		})
	}
	for name, b := range map[string]string{
		"empty": "", "text": "hello", "other JSON": `{"msg":"x"}`, "no job": `{"time":"2026-11-24T12:00:00Z","message":"x"}`,
		"no message": line[:strings.Index(line, `,"message"`)], "bad head": `{"time":5,"ray_cluster":"a","message":"x"}`,
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := Decode([]byte(b)); err == nil {
				t.Errorf("Decode(%s) = %+v, want an error", b, got)
			}
		})
	}
}
