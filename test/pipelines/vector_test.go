//go:build e2e && linux

package pipelines

import (
	"bytes"
	"encoding/json"
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"raytap/test/program"
)

// vector is the part of deploy/pipelines/vector.yaml that the test uses.
type vector struct {
	Transforms struct {
		Record struct {
			Source string
			Drop   bool `yaml:"drop_on_error"`
		}
	}
	Sinks struct {
		Loki struct {
			Encoding struct{ Codec string }
			Labels   map[string]string
			Metadata map[string]string `yaml:"structured_metadata"`
		}
	}
}

// remap runs the configuration's VRL program, with Vector's compiler, on the events that
// the file source makes of lines. An event is nil if the program failed.
func (v vector) remap(t *testing.T, lines []string) []map[string]any {
	t.Helper()
	var in bytes.Buffer
	for _, line := range lines {
		event := map[string]string{"message": line, "file": "raytap.jsonl", "host": "node", "source_type": "file", "timestamp": "2000-01-01T00:00:00Z"}
		if err := json.NewEncoder(&in).Encode(event); err != nil {
			t.Fatal(err)
		}
	}
	file := program.File(t, filepath.Join(t.TempDir(), "record.vrl"), v.Transforms.Record.Source)
	cmd := exec.Command(program.Tool(t, "vrl/bin/python"), "vrl.py", file)
	var out, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = &in, &out, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	var events []map[string]any
	for d := json.NewDecoder(&out); d.More(); {
		var event map[string]any
		if err := d.Decode(&event); err != nil {
			t.Fatal(err)
		}
		events = append(events, event)
	}
	if len(events) != len(lines) {
		t.Fatalf("%d events for %d lines: %s", len(events), len(lines), stderr.String())
	}
	return events
}

var template = regexp.MustCompile(`^\{\{ (\w+) \}\}$`)

// fill expands templates like the loki sink: each gets its value from the event, and an
// object under * gets a value for each of its keys.
func fill(t *testing.T, templates map[string]string, event map[string]any) map[string]string {
	t.Helper()
	all := map[string]string{}
	put := func(name string, value any) {
		if s, ok := value.(string); ok {
			all[name] = s
		} else if text, err := json.Marshal(value); err == nil {
			all[name] = string(text)
		}
	}
	for name, text := range templates {
		m := template.FindStringSubmatch(text)
		if m == nil {
			t.Fatalf("%s: unsupported template %s", name, text)
		}
		value, ok := event[m[1]]
		switch object, isObject := value.(map[string]any); {
		case !ok || value == nil:
			t.Fatalf("%s: event %v has no %s", name, event, m[1])
		case name == "*" && isObject:
			for name, value := range object {
				put(name, value)
			}
		default:
			put(name, value)
		}
	}
	return all
}

// Vector's program converts raytap's records to what its sink requires, with each key as
// raytap wrote it.
func TestPipelines_VectorTransform(t *testing.T) {
	s := newPipeline(t, nil)
	s.print()
	s.end()
	s.raytap.Until(time.Minute, "all end events are written", func() bool { return s.ended(strings.Join(s.files(), "")) })
	text := strings.Join(s.files(), "")
	want := s.written(text)

	var v vector
	if err := yaml.Unmarshal([]byte(read(t, filepath.Join(configs, "vector.yaml"))), &v); err != nil {
		t.Fatal(err)
	}
	if loki := v.Sinks.Loki; loki.Encoding.Codec != "text" || !slices.Equal(slices.Sorted(maps.Keys(loki.Labels)), []string{"ray_cluster", "source"}) {
		t.Errorf("the sink has codec %s and labels %v", loki.Encoding.Codec, loki.Labels)
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	lines = append(lines, lines[0][:len(lines[0])/2]) // partial, after a crash
	events := v.remap(t, lines)
	if partial := events[len(lines)-1]; partial != nil || !v.Transforms.Record.Drop {
		t.Errorf("a partial record is not dropped: %v", partial)
	}
	got := map[key][]record{}
	for _, event := range events[:len(lines)-1] {
		fields := fill(t, v.Sinks.Loki.Labels, event)
		maps.Copy(fields, fill(t, v.Sinks.Loki.Metadata, event))
		for name, value := range fields {
			if value == "" {
				t.Fatalf("%s is empty: %v", name, event)
			}
		}
		fields["_msg"], _ = event["message"].(string)
		at, err := time.Parse("2006-01-02 15:04:05.999999999 MST", event["timestamp"].(string))
		if err != nil {
			t.Fatal(err)
		}
		fields["_time"] = at.Format(time.RFC3339Nano)
		k, r, err := fromStore(fields)
		if err != nil {
			t.Fatalf("%v: %v", err, fields)
		}
		got[k] = append(got[k], r)
	}
	if duplicated := s.compareStored(want, got); duplicated > 0 {
		t.Errorf("%d duplicated records", duplicated)
	}
}
