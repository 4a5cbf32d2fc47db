package config

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Files that Prometheus' own file_sd reads.
func TestTargetsThatPrometheusReads(t *testing.T) {
	files, err := filepath.Glob("testdata/file_sd/*.json")
	if err != nil || len(files) < 6 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		list, err := Targets(file, data)
		if err != nil || len(list) != 1 || !strings.HasPrefix(list[0].Address, "http://127.0.0.1:18265/b/") || list[0].Name == "" {
			t.Errorf("%s: %v, %v", file, list, err)
		}
	}
}

// An error says where, and never in the words of Go.
func TestFilesOfTargetsThatAreWrong(t *testing.T) {
	ofGo := regexp.MustCompile(`struct|map\[|\[\][a-z]|unmarshal|string|json:|yaml:`)
	for text, want := range map[string][2]string{ // of JSON, of YAML; "" is right
		`[]`:                           {"", ""},
		`{}`:                           {"line 1, column 1: it is not a list of {targets, labels}: a list must stand here", "line 1: it is not a list of {targets, labels}: a list must stand here"},
		`null`:                         {"it is not a list of", ""},
		`"x"`:                          {"line 1, column 3: it is not a list", "line 1: it is not a list"},
		"[\n 7]":                       {"line 2, column 2: ", "line 2: it is not a list of {targets, labels}: {targets, labels} must stand here"},
		"[\n {\"targets\": \"a:1\"}]":  {"line 2, column 18: it is not a list of {targets, labels}: targets must be a list of texts", "line 2: it is not a list of {targets, labels}: targets must be a list of texts"},
		`[{"targets": [["a:1"]]}]`:     {"a text must stand here", "a text must stand here"},
		`[{"labels": ["a"]}]`:          {"labels must be texts by name", "labels must be texts by name"},
		`[{"labels": {"a": {}}}]`:      {"a text must stand here", "a text must stand here"},
		`[{"labels": {"a": 1}}]`:       {"a text must stand here", ""},
		`[{"target": []}]`:             {`unknown key "target"; known are targets and labels`, `line 1: unknown key "target"; known are targets and labels`},
		`[] []`:                        {"line 1, column 4: something follows the list", "it holds more than one document"},
		"[{\"targets\": [\"a:1\", \"b": {"the file ends in the middle", "it is not a list"},
		"[\n\n{\"targets\": ['a:1']}]": {"line 3, column 14: it is not a list", ""},
		"- targets: [a:1]":             {"line 1, column 2: it is not a list", ""},
		"  \n":                         {"it is empty", "it is empty"},
	} {
		for i, file := range []string{"a.json", "a.yml"} {
			_, err := Targets(file, []byte(text))
			switch {
			case want[i] == "":
				if err != nil {
					t.Errorf("%s %q: %v", file, text, err)
				}
			case err == nil || !strings.Contains(err.Error(), want[i]) || ofGo.MatchString(strings.ReplaceAll(err.Error(), "{targets, labels}", "")):
				t.Errorf("%s %q: %v, want %q", file, text, err, want[i])
			}
		}
	}
}
