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

// vector is what is used of deploy/pipelines/vector.yaml.
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

// remap runs the configuration's program, by Vector's own compiler, on what its
// file source makes of lines. An event is nil where the program failed.
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
	var out, said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = &in, &out, &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, said.String())
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
		t.Fatalf("%d events of %d lines: %s", len(events), len(lines), said.String())
	}
	return events
}

var template = regexp.MustCompile(`^\{\{ (\w+) \}\}$`)

// fill does for a table of templates what the loki sink does: each is filled from the
// event, and an object under * stands for its keys.
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
			t.Fatalf("%s: this test does not understand %s", name, text)
		}
		value, ok := event[m[1]]
		switch object, isObject := value.(map[string]any); {
		case !ok || value == nil:
			t.Fatalf("%s: %v has no %s", name, event, m[1])
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

// What Vector's program makes of raytap's records is what its sink wants, and has
// each key as raytap wrote it.
func TestPipelines_VectorTransform(t *testing.T) {
	s := newScene(t, nil)
	s.print()
	s.end()
	s.raytap.Until(time.Minute, "the ends are written", func() bool { return s.ended(strings.Join(s.files(), "")) })
	text := strings.Join(s.files(), "")
	want := s.written(text)

	var v vector
	if err := yaml.Unmarshal([]byte(read(t, filepath.Join(shipped, "vector.yaml"))), &v); err != nil {
		t.Fatal(err)
	}
	if loki := v.Sinks.Loki; loki.Encoding.Codec != "text" || !slices.Equal(slices.Sorted(maps.Keys(loki.Labels)), []string{"ray_cluster", "source"}) {
		t.Errorf("the sink sends %s with labels of %v", loki.Encoding.Codec, loki.Labels)
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	lines = append(lines, lines[0][:len(lines[0])/2]) // torn by a crash
	events := v.remap(t, lines)
	if torn := events[len(lines)-1]; torn != nil || !v.Transforms.Record.Drop {
		t.Errorf("a torn record is not dropped: %v", torn)
	}
	got := map[key][]record{}
	for _, event := range events[:len(lines)-1] {
		fields := fill(t, v.Sinks.Loki.Labels, event)
		maps.Copy(fields, fill(t, v.Sinks.Loki.Metadata, event))
		for name, value := range fields {
			if value == "" {
				t.Fatalf("%s is sent empty: %v", name, event)
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
	if doubled := s.differ(want, got); doubled > 0 {
		t.Errorf("%d records came more than once", doubled)
	}
}
