package record

import (
	"bufio"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"raytap/lines"
)

// eventOptions are those of events/event_RAYLET.log.
func eventOptions() Options {
	return Options{Cluster: "c", Session: "s", Origin: Origin{Log: "abababababab/events/event_RAYLET.log", Source: "event"}, Structured: true, Events: true, LineTime: true}
}

func appendEventLine(o Options, line string) string {
	return string(NewEncoder(o).AppendLine(nil, 1e18, lines.Line{Text: []byte(line), Size: int64(len(line)), Seq: 3}, 0))
}

// An event's message is the record's, its fields are keys. What a record has no key for
// stays in the message, which is the whole line.
func TestEncoder_RayEvent(t *testing.T) {
	const raylet = `{"custom_fields":{"job_id":"05000000","node_id":"` + nodeID + `","worker_id":"` + workerID + `"},"event_id":"5a67","host_name":"ray-host",` +
		`"label":"RAY_WORKER_FAILURE","message":"A worker died.\\n \"so\"","pid":"14463","severity":"ERROR","source_type":"RAYLET","timestamp":1796087234}`
	const jobs = `{"event_id": "3d7a", "source_type": "JOBS", "source_hostname": "ray-host", "source_pid": 4837, "message": "Started a ray job job-1.", ` +
		`"timestamp": "1796086887", "custom_fields": {"submission_id": "job-1"}, "severity": "FATAL", "label": ""}`
	for name, c := range map[string]struct{ line, want string }{
		"of the raylet": {raylet, `"seq":3,"level":"ERROR","line_time":"2026-12-01T01:07:14Z","message":"A worker died.\\n \"so\"","event_id":"5a67","source_type":"RAYLET",` +
			`"event_label":"RAY_WORKER_FAILURE","event_host":"ray-host","event_timestamp":1796087234,"pid":14463,"job_id":"05000000","node_id":"` + nodeID + `","worker_id":"` + workerID + `"}`},
		"of the jobs API": {jobs, `"seq":3,"level":"CRITICAL","line_time":"2026-12-01T01:01:27Z","message":"Started a ray job job-1.","event_id":"3d7a","source_type":"JOBS",` +
			`"event_host":"ray-host","event_timestamp":1796086887,"pid":4837,"submission_id":"job-1"}`},
		"with a field of another version": {strings.Replace(jobs, `"label": ""`, `"label": "", "new": 1`, 1), `"message":"{\"event_id\": \"3d7a\"`},
		"with a custom field":             {strings.Replace(jobs, `"job-1"}`, `"job-1", "n": 1}`, 1), `"message":"{\"event_id\": \"3d7a\"`},
		"cut off":                         {raylet[:len(raylet)-4], `"message":"{\"custom_fields\"`},
		"no event":                        {`{"message":"x"}`, `"message":"{\"message\":\"x\"}"}`},
		"text":                            {"x", `"message":"x"}`},
	} {
		if got := appendEventLine(eventOptions(), c.line); !strings.Contains(got, c.want) {
			t.Errorf("%s: got  %swant …%s", name, got, c.want)
		}
	}
	if got := appendEventLine(eventOptions(), strings.Replace(jobs, `"job-1"}`, `"job-1", "n": 1}`, 1)); !strings.Contains(got, `"submission_id":"job-1"`) {
		t.Errorf("an event with a custom field lacks the keys of others: %s", got)
	}
	o := eventOptions()
	o.Structured = false
	if got := appendEventLine(o, jobs); strings.Contains(got, "source_type\":") {
		t.Errorf("structured is disabled: %s", got)
	}
}

// What Ray 2.60.0 wrote is found by its label or its submission.
func TestEncoder_RecordedEvents(t *testing.T) {
	f, err := os.Open("../../ray/raytest/testdata/node_logs_events.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var found []string
	for s := bufio.NewScanner(f); s.Scan(); {
		var record struct {
			Message    string
			Level      string
			Label      string `json:"event_label"`
			SourceType string `json:"source_type"`
		}
		if err := json.Unmarshal([]byte(appendEventLine(eventOptions(), s.Text())), &record); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(record.Message, "{") || record.Level == "" {
			t.Errorf("the message is %s, the level %q", record.Message, record.Level)
		}
		found = append(found, record.SourceType+" "+record.Label)
	}
	if got, want := strings.Join(found, ", "), "RAYLET Out of Memory, RAYLET RAY_WORKER_FAILURE, GCS RAY_NODE_REMOVED, JOBS , JOBS "; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func FuzzEncoder_RayEvent(f *testing.F) {
	f.Add(`{"event_id": "3d7a", "source_type": "JOBS", "message": "x", "timestamp": "1", "custom_fields": {"ip": "\n"}, "pid": "07"}`)
	f.Fuzz(func(t *testing.T, line string) {
		if strings.ContainsAny(line, "\r\n") {
			return // these end a line
		}
		got := appendEventLine(eventOptions(), line)
		keys := json.NewDecoder(strings.NewReader(got))
		seen := map[string]bool{}
		if _, err := keys.Token(); err != nil {
			t.Fatal(err)
		}
		for keys.More() {
			key, err := keys.Token()
			if err != nil || seen[key.(string)] {
				t.Fatalf("%v, key %v: %s", err, key, got)
			}
			seen[key.(string)] = true
			var value any
			if err := keys.Decode(&value); err != nil {
				t.Fatalf("%v: %s", err, got)
			}
		}
	})
}
