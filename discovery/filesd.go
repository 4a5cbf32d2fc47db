package discovery

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"
)

// targetGroup is an element of the list in a file.
type targetGroup struct {
	Targets []string          `yaml:"targets" json:"targets"`
	Labels  map[string]string `yaml:"labels" json:"labels"`
}

// notGroups is the error of a file with other content.
const notGroups = "it is not a list of {targets, labels}"

// parseGroups parses a file as Prometheus does: JSON if its name ends in .json,
// else YAML.
func parseGroups(name string, data []byte) ([]targetGroup, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, errors.New("it is empty: write [] for no clusters")
	}
	if strings.EqualFold(filepath.Ext(name), ".json") {
		return jsonGroups(data)
	}
	return yamlGroups(data)
}

func jsonGroups(data []byte) ([]targetGroup, error) {
	var out []targetGroup
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&out); err != nil {
		return nil, jsonProblem(data, dec.InputOffset(), err)
	}
	if out == nil { // null
		return nil, errors.New(notGroups)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: there is more after the list", position(data, dec.InputOffset()))
	}
	return out, nil
}

// jsonProblem converts an error of encoding/json.
func jsonProblem(data []byte, at int64, err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("%s: %s: %.80s", position(data, syntax.Offset), notGroups, syntax.Error())
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%s: %s: the file is incomplete", position(data, int64(len(data))), notGroups)
	case errors.As(err, &kind):
		return fmt.Errorf("%s: %s: %s", position(data, kind.Offset), notGroups, wants(kind.Type.String()))
	}
	if key, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return fmt.Errorf("%s: unknown key %.80s; use targets or labels", position(data, at), key)
	}
	return fmt.Errorf("%s: %s", position(data, at), notGroups)
}

// position returns line and column of an offset, both from 1.
func position(data []byte, offset int64) string {
	before := data[:max(0, min(int(offset)-1, len(data)))]
	line := bytes.Count(before, []byte("\n")) + 1
	return fmt.Sprintf("line %d, column %d", line, len(before)-bytes.LastIndexByte(before, '\n'))
}

var (
	yamlKind    = regexp.MustCompile(`^line (\d+): cannot unmarshal .* into (.+)$`)
	yamlUnknown = regexp.MustCompile(`^line (\d+): field (.*) not found in type `)
)

func yamlGroups(data []byte) ([]targetGroup, error) {
	var out []targetGroup
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	switch err := dec.Decode(&out); {
	case errors.Is(err, io.EOF): // only comments
		return nil, errors.New("it is empty: write [] for no clusters")
	case err != nil:
		return nil, yamlProblem(err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("it has more than one document")
	}
	return out, nil
}

func yamlProblem(err error) error {
	text, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "yaml: "), "\n")
	var kinds *yaml.TypeError
	if errors.As(err, &kinds) && len(kinds.Errors) > 0 {
		text = kinds.Errors[0]
	}
	if m := yamlKind.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("line %s: %s: %s", m[1], notGroups, wants(m[2]))
	}
	if m := yamlUnknown.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("line %s: unknown key %.80q; use targets or labels", m[1], m[2])
	}
	return fmt.Errorf("%s: %.80s", notGroups, text)
}

// wants returns what the file must have where a value of a Go type is expected.
func wants(goType string) string {
	switch goType {
	case reflect.TypeFor[[]targetGroup]().String():
		return "must be a list"
	case reflect.TypeFor[targetGroup]().String():
		return "must be {targets, labels}"
	case reflect.TypeFor[[]string]().String():
		return "targets must be a list of strings"
	case reflect.TypeFor[map[string]string]().String():
		return "labels must be strings"
	}
	return "must be a string"
}
