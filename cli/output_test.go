package cli

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

func TestJSON_Jobs(t *testing.T) {
	s := newScreen("")
	if err := listJobs(context.Background(), cluster(), jobFilter{}, s.printer(formatJSON)); err != nil {
		t.Fatal(err)
	}
	s.want(t, `[
  {
    "type": "SUBMISSION",
    "submission_id": "raysubmit_new",
    "status": "RUNNING",
    "entrypoint": "python3 -c 'print(1)\nprint(2)'",
    "start": "2026-11-24T11:56:40Z"
  },
  {
    "type": "DRIVER",
    "job_id": "02000000",
    "status": "SUCCEEDED",
    "entrypoint": "訓練.py",
    "start": "2026-11-24T11:00:00Z",
    "end": "2026-11-24T11:01:00Z"
  },
  {
    "type": "SUBMISSION",
    "submission_id": "raysubmit_old",
    "job_id": "01000000",
    "name": "train-7",
    "status": "FAILED",
    "entrypoint": "python3 train.py",
    "message": "it\nfailed",
    "error_type": "JOB_ENTRYPOINT_COMMAND_ERROR",
    "start": "2026-11-23T10:00:00Z",
    "end": "2026-11-23T11:00:00Z",
    "metadata": {
      "job_name": "train-7",
      "team": "ml"
    },
    "driver_node_id": "11111111111111111111111111111111111111111111111111111111",
    "driver_agent_url": "http://10.0.0.1:52365",
    "driver_exit_code": 3
  }
]
`, "")
}

func TestYAML_Job(t *testing.T) {
	s := newScreen("")
	if err := getJob(context.Background(), cluster(), "raysubmit_old", s.printer(formatYAML)); err != nil {
		t.Fatal(err)
	}
	s.want(t, `type: SUBMISSION
submission_id: raysubmit_old
job_id: "01000000"
name: train-7
status: FAILED
entrypoint: python3 train.py
message: |-
  it
  failed
error_type: JOB_ENTRYPOINT_COMMAND_ERROR
start: "2026-11-23T10:00:00Z"
end: "2026-11-23T11:00:00Z"
metadata:
  job_name: train-7
  team: ml
driver_node_id: "11111111111111111111111111111111111111111111111111111111"
driver_agent_url: http://10.0.0.1:52365
driver_exit_code: 3
`, "")
}

// YAML and JSON have the same content for all texts and numbers.
func FuzzYAMLEqualsJSON(f *testing.F) {
	for _, s := range []string{"", "true", "0x10", "02000000", "1e3", "null", "~", "- a", "a: b", "#x", "\x1b[0m\u2028\u0085", "a\n  b\n", "\tx", "2026-11-24", "é漢", "\xff", "<&>", "|", "'", `"`, "\n0", "<<", "=", "a\n ", "\t\n", "\ta\nb"} {
		f.Add(s, 1.5)
	}
	f.Fuzz(func(t *testing.T, text string, number float64) {
		if number != number || number > 1e300 || number < -1e300 {
			return // JSON has no such numbers
		}
		value := map[string]any{"text": text, "number": number, "list": []string{text}, "map": map[string]string{text: text}}
		j, err := asJSON(value)
		if err != nil {
			t.Fatal(err)
		}
		y, err := asYAML(value)
		if err != nil {
			t.Fatal(err)
		}
		var fromJSON, fromYAML any
		if err := json.Unmarshal(j, &fromJSON); err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(y, &fromYAML); err != nil {
			t.Fatalf("%v in\n%s", err, y)
		}
		again, err := json.Marshal(fromYAML)
		if err != nil {
			t.Fatal(err)
		}
		var normal any
		if err := json.Unmarshal(again, &normal); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(fromJSON, normal) {
			t.Fatalf("JSON:\n%s\nYAML:\n%s", j, y)
		}
	})
}

func TestOutput_EmptyList(t *testing.T) {
	for form, want := range map[string]string{formatJSON: "[]\n", formatYAML: "[]\n"} {
		s := newScreen("")
		if err := listJobs(context.Background(), &fake{}, jobFilter{}, s.printer(form)); err != nil {
			t.Fatal(err)
		}
		s.want(t, want, "")
	}
}

// Unknown values are absent; zero values are present.
func TestJSON_UnknownValues(t *testing.T) {
	f := cluster()
	f.nodes[2].Stats.HasLoad, f.nodes[2].Stats.HasNetwork, f.nodes[2].Stats.Workers = false, false, 0
	s := newScreen("")
	if err := getNode(context.Background(), f, f.nodes[2].ID, s.printer(formatJSON)); err != nil {
		t.Fatal(err)
	}
	for field, present := range map[string]bool{`"load_avg"`: false, `"network_sent"`: false, `"workers": 0`: true, `"end"`: false, `"death_reason"`: false} {
		if strings.Contains(s.out.String(), field) != present {
			t.Errorf("%s present: %t, want %t", field, !present, present)
		}
	}
}
