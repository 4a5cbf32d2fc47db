package record

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"raytap/lines"
)

const (
	workerID = "0123456789abcdef0123456789abcdef0123456789abcdef01234567"
	nodeID   = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba98"
	// structuredLine is a line of Ray's JSON logging.
	structuredLine = `{"asctime": "2026-12-01 00:46:31,731", "levelname": "WARNING", "message": "m", "filename": "x.py", "lineno": 15, "process": 30206, ` +
		`"job_id": "03000000", "worker_id": "` + workerID + `", "node_id": "` + nodeID + `", "task_id": "77", "task_name": "\u6f22", "task_func_name": "x.task"}`
)

func statedOptions() Options {
	o := testOptions()
	o.Relayed, o.Structured, o.StripANSI = true, true, true
	return o
}

// What a line states is after its message, and never a key that the record has.
func TestEncoder_Stated(t *testing.T) {
	const ids = `"worker_id":"` + workerID + `","task_id":"77","task_name":"漢","task_func_name":"x.task","team":"ml"`
	worker := func(o *Options) { o.Origin, o.ActorName, o.NodeID = testOrigin(), "", "" }
	for name, c := range map[string]struct {
		line    string
		options func(*Options)
		want    string
	}{
		"relayed": {"\x1b[36m(R(rank=3) pid=77, ip=10.0.0.1)\x1b[0m x\x1b[32m [repeated 9x across cluster]\x1b[0m", nil,
			`"message":"(R(rank=3) pid=77, ip=10.0.0.1) x [repeated 9x across cluster]","relayed":true,"worker_name":"R(rank=3)","pid":77,"node_ip":"10.0.0.1","repeated":9,"team":"ml"`},
		"of a component": {"\x1b[33m(raylet)\x1b[0m x", nil, `"message":"(raylet) x","relayed":true,"worker_name":"raylet","team":"ml"`},
		"disabled":       {"(f pid=77) x", func(o *Options) { o.Relayed = false }, `"message":"(f pid=77) x","team":"ml"`},
		"not of a driver": {"(f pid=77) x", worker,
			`"message":"(f pid=77) x","task_name":"fit","application":"shop"`},
		"structured": {structuredLine, nil, `\"x.task\"}","pid":30206,"node_id":"` + nodeID + `",` + ids},
		"structured and relayed": {"(f pid=77) " + structuredLine, nil,
			`\"x.task\"}","relayed":true,"worker_name":"f","pid":77,"node_id":"` + nodeID + `",` + ids},
		"structured of a worker": {structuredLine, worker,
			`\"x.task\"}","node_id":"` + nodeID + `","task_id":"77","task_func_name":"x.task","task_name":"fit","application":"shop","deployment":"Hello","replica":"abc","team":"ml"`},
		"structured, disabled": {structuredLine, func(o *Options) { o.Structured = false }, `\"x.task\"}","team":"ml"`},
		"plain":                {"hello]", nil, `"message":"hello]","team":"ml"`},
	} {
		t.Run(name, func(t *testing.T) {
			o := statedOptions()
			if c.options != nil {
				c.options(&o)
			}
			got := string(NewEncoder(o).AppendLine(nil, 1e18, lines.Line{Text: []byte(c.line), Size: int64(len(c.line)), Seq: 3}, 0))
			if !strings.Contains(got, c.want) {
				t.Errorf("got  %swant …%s", got, c.want)
			}
			if strings.HasPrefix(name, "structured") && !strings.Contains(got, `"level":"WARNING"`) {
				t.Errorf("no level in %s", got)
			}
		})
	}
}

// However long a name is, and whatever is in it, recovery finds the record's key, and takes
// a line for a line.
func TestDecode_NamesOfAnyLength(t *testing.T) {
	name := strings.Repeat(`Model(a="b","event":"end","message":"m",seq=5)`, 10_000/46)
	for kind, line := range map[string]string{
		"relayed":    "(" + name + " pid=7) x",
		"structured": `{"worker_id":"` + workerID + `","node_id":"` + nodeID + `","actor_name":` + string(mustMarshal(t, name)) + `}`,
	} {
		o := statedOptions()
		o.Log, o.ActorName = "", name
		if kind == "structured" {
			o.ActorName = ""
		}
		record := bytes.TrimSuffix(NewEncoder(o).AppendLine(nil, 1e18, lines.Line{Text: []byte(line), Size: int64(len(line)), Seq: 3}, 0), []byte("\n"))
		for _, length := range []int{len(record), 400, 4096} { // as recovery may truncate it
			r, err := Decode(record[:length])
			if err != nil || r.Event != "" || r.Seq != 3 || r.SubmissionID != "raysubmit_1" || !r.Time.Equal(time.Unix(0, 1e18)) {
				t.Errorf("%s: %+v, %v", kind, r, err)
			}
		}
		if i := bytes.Index(record, []byte(`,"message":"`)); i > 400 {
			t.Errorf("%s: the message is at byte %d", kind, i)
		}
		if keys := keysIn(t, record); !slices.Contains(keys, map[string]string{"relayed": "worker_name", "structured": "actor_name"}[kind]) {
			t.Errorf("%s: keys %v", kind, keys)
		}
	}
}

func mustMarshal(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// keysIn returns the keys of a record, in their order.
func keysIn(t *testing.T, record []byte) (keys []string) {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(record))
	if _, err := decoder.Token(); err != nil {
		t.Fatal(err)
	}
	for decoder.More() {
		key, err := decoder.Token()
		var value json.RawMessage
		if err == nil {
			err = decoder.Decode(&value)
		}
		if err != nil {
			t.Fatalf("%v: %s", err, record)
		}
		keys = append(keys, key.(string))
	}
	return keys
}

// Whatever a line is, its record is JSON whose keys are reserved, each once, and recovery
// reads it.
func FuzzEncoder_AppendLine(f *testing.F) {
	for _, s := range []string{"plain", structuredLine, "(f pid=7, ip=1.2.3.4) " + structuredLine, "\x1b[36m(f pid=007)\x1b[0m x [repeated 007x across cluster]",
		`{"worker_id":"` + workerID + `","node_id":"` + nodeID + `","task_name":"\ud800\u0001` + "\xff" + `"}`} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, line []byte, driver bool) {
		if bytes.IndexByte(line, '\n') >= 0 {
			return
		}
		o := statedOptions()
		if !driver {
			o.Origin = Origin{Log: "worker-7.err", Source: "worker", WorkerID: "7", TaskName: "fit"}
		}
		record := NewEncoder(o).AppendLine(nil, 1e18, lines.Line{Text: line, Size: int64(len(line)), Seq: 3}, 0)
		keys := keysIn(t, record)
		for i, key := range keys {
			if !slices.Contains(ReservedKeys, key) && key != "team" || slices.Contains(keys[:i], key) {
				t.Fatalf("%q: keys %v", line, keys)
			}
		}
		if r, err := Decode(bytes.TrimSuffix(record, []byte("\n"))); err != nil || r.Seq != 3 || r.Event != "" || r.Log != o.Log {
			t.Fatalf("%s: %+v, %v", record, r, err)
		}
	})
}

// What the options relayed and structured cost, in lines that have none of either, and in
// those that have.
func BenchmarkStated(b *testing.B) {
	plain := strings.Repeat("an ordinary line of a log, ", 8)
	for _, c := range []struct{ name, line string }{
		{"plain", plain[:200]}, {"bracket", plain[:199] + "]"}, {"coloured", "\x1b[32m" + plain[:191] + "\x1b[0m"}, {"tuple", "(" + plain[:199]},
		{"json", `{"msg": "` + plain[:189] + `"}`},
		{"relayed", "\x1b[36m(train pid=77, ip=10.0.0.10)\x1b[0m " + plain[:160]}, {"structured", strings.Replace(structuredLine, `\u6f22`, "train", 1)}, {"structured, not ASCII", structuredLine},
	} {
		for _, on := range []bool{false, true} {
			b.Run(c.name+map[bool]string{false: "/off", true: "/on"}[on], func(b *testing.B) {
				o := testOptions()
				o.Relayed, o.Structured = on, on
				e := NewEncoder(o)
				l := lines.Line{Text: []byte(c.line), Size: int64(len(c.line)), Seq: 12345}
				buf := make([]byte, 0, 2048)
				b.ReportAllocs()
				for b.Loop() {
					buf = e.AppendLine(buf[:0], 1795531932277000000, l, 0)
				}
			})
		}
	}
}
