package discovery

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Files that Prometheus' own file_sd accepts.
func TestParseTargets_PrometheusFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/file_sd/*.json")
	if err != nil || len(files) < 6 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		list, err := parseTargets(file, data)
		if err != nil || len(list) != 1 || !strings.HasPrefix(list[0].Address, "http://127.0.0.1:18265/b/") || list[0].Name == "" {
			t.Errorf("%s: %v, %v", file, list, err)
		}
	}
}

// Errors name the location, and no Go types.
func TestParseTargets_Errors(t *testing.T) {
	goWords := regexp.MustCompile(`struct|map\[|\[\][a-z]|unmarshal|json:|yaml:`)
	for text, want := range map[string][2]string{ // of JSON, of YAML; "" is valid
		`[]`:                           {"", ""},
		`{}`:                           {"line 1, column 1: it is not a list of {targets, labels}: must be a list", "line 1: it is not a list of {targets, labels}: must be a list"},
		`null`:                         {"it is not a list of", ""},
		`"x"`:                          {"line 1, column 3: it is not a list", "line 1: it is not a list"},
		"[\n 7]":                       {"line 2, column 2: ", "line 2: it is not a list of {targets, labels}: must be {targets, labels}"},
		"[\n {\"targets\": \"a:1\"}]":  {"line 2, column 18: it is not a list of {targets, labels}: targets must be a list of strings", "line 2: it is not a list of {targets, labels}: targets must be a list of strings"},
		`[{"targets": [["a:1"]]}]`:     {"must be a string", "must be a string"},
		`[{"labels": ["a"]}]`:          {"labels must be strings", "labels must be strings"},
		`[{"labels": {"a": {}}}]`:      {"must be a string", "must be a string"},
		`[{"labels": {"a": 1}}]`:       {"must be a string", ""},
		`[{"target": []}]`:             {`unknown key "target"; use targets or labels`, `line 1: unknown key "target"; use targets or labels`},
		`[] []`:                        {"line 1, column 4: there is more after the list", "it has more than one document"},
		"[{\"targets\": [\"a:1\", \"b": {"the file is incomplete", "it is not a list"},
		"[\n\n{\"targets\": ['a:1']}]": {"line 3, column 14: it is not a list", ""},
		"- targets: [a:1]":             {"line 1, column 2: it is not a list", ""},
		"  \n":                         {"it is empty", "it is empty"},
	} {
		for i, file := range []string{"a.json", "a.yml"} {
			_, err := parseTargets(file, []byte(text))
			switch {
			case want[i] == "":
				if err != nil {
					t.Errorf("%s %q: %v", file, text, err)
				}
			case err == nil || !strings.Contains(err.Error(), want[i]) || goWords.MatchString(strings.ReplaceAll(err.Error(), "{targets, labels}", "")):
				t.Errorf("%s %q: %v, want %q", file, text, err, want[i])
			}
		}
	}
}
