package deploy

import (
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// followers are the configurations that follow the sink file: those that test/pipelines
// runs, and those that cannot be run here.
var followers = []string{"alloy.alloy", "fluent-bit.yaml", "otelcol.yaml", "promtail.yaml", "rsyslog.conf", "vector.yaml", "vlagent.sh"}

func TestPipelines_Syntax(t *testing.T) {
	names, err := filepath.Glob(filepath.Join(root, "deploy/pipelines/*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		name = filepath.Base(name)
		if !slices.Contains(append(followers, "victorialogs.sh"), name) {
			t.Errorf("%s is not in this test", name)
		}
		if !strings.HasSuffix(name, ".yaml") {
			continue
		}
		var any map[string]any
		if err := yaml.UnmarshalStrict([]byte(read(t, "deploy/pipelines/"+name)), &any); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Each configuration contains all parts of a record's key.
func TestPipelines_KeepRecordKey(t *testing.T) {
	for _, name := range followers {
		text := read(t, "deploy/pipelines/"+name)
		for _, part := range []string{"ray_cluster", "session", "submission_id", "log", "epoch", "seq", "event"} {
			if !regexp.MustCompile(`\b` + part + `\b`).MatchString(text) {
				t.Errorf("%s does not contain %s", name, part)
			}
		}
	}
}

// The configurations follow the current file and the uncompressed rotated ones, and no
// other files in the directory.
func TestPipelines_FollowRotatedFiles(t *testing.T) {
	// File names, and whether they must be followed.
	names := map[string]bool{
		"raytap.jsonl": true, "raytap.jsonl.000001": true, "raytap.jsonl.1000000": true,
		"raytap.jsonl.000001.gz": false, "raytap.jsonl.lock": false, "raytap.jsonl.positions.db": false,
	}
	pattern := regexp.MustCompile(`(?:/var/lib/raytap/|\$file|\b)(raytap\.jsonl|(?:\$file))([^\s",;}]*)`)
	for _, name := range followers {
		text := strings.ReplaceAll(read(t, "deploy/pipelines/"+name), "$file", "/var/lib/raytap/raytap.jsonl")
		var code []string
		for line := range strings.Lines(text) {
			if trimmed := strings.TrimSpace(line); !strings.HasPrefix(trimmed, "#") && !strings.HasPrefix(trimmed, "//") {
				code = append(code, line)
			}
		}
		patterns := map[string]bool{}
		for _, m := range pattern.FindAllStringSubmatch(strings.Join(code, ""), -1) {
			patterns["raytap.jsonl"+m[2]] = true
		}
		for file, want := range names {
			followed := false
			for p := range patterns {
				if ok, err := filepath.Match(p, file); err != nil {
					t.Errorf("%s: %v", name, err)
				} else if ok && !strings.HasSuffix(p, ".gz") {
					followed = true
				}
			}
			if strings.HasSuffix(file, ".gz") && patterns["raytap.jsonl.*.gz"] {
				followed = false // excluded by another pattern
			}
			if followed != want {
				t.Errorf("%s follows %s: %t; patterns: %v", name, file, followed, slices.Sorted(maps.Keys(patterns)))
			}
		}
	}
}
