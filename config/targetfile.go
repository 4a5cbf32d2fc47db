package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// targetGroup is an element of a file of targets.
type targetGroup struct {
	Targets []string          `yaml:"targets" json:"targets"`
	Labels  map[string]string `yaml:"labels" json:"labels"`
}

// notGroups is what is wrong with a file of targets that holds something else.
const notGroups = "it is not a list of {targets, labels}"

// groups reads a file of targets, as Prometheus does: JSON where its name ends in
// .json, else YAML.
func groups(file string, data []byte) ([]targetGroup, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, errors.New("it is empty: write [] where there are to be no clusters")
	}
	if strings.EqualFold(filepath.Ext(file), ".json") {
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
		return nil, fmt.Errorf("%s: something follows the list", position(data, dec.InputOffset()))
	}
	return out, nil
}

// jsonProblem says where JSON is not what a file of targets holds, and why.
func jsonProblem(data []byte, at int64, err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("%s: %s: %s", position(data, syntax.Offset), notGroups, bounded(syntax.Error()))
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%s: %s: the file ends in the middle", position(data, int64(len(data))), notGroups)
	case errors.As(err, &kind):
		return fmt.Errorf("%s: %s: %s", position(data, kind.Offset), notGroups, wants(kind.Type.String()))
	}
	if key, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return fmt.Errorf("%s: unknown key %s; known are targets and labels", position(data, at), bounded(key))
	}
	return fmt.Errorf("%s: %s", position(data, at), notGroups)
}

// position is line and column of an offset, both from 1.
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
	case errors.Is(err, io.EOF): // comments alone
		return nil, errors.New("it is empty: write [] where there are to be no clusters")
	case err != nil:
		return nil, yamlProblem(err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("it holds more than one document")
	}
	return out, nil
}

func yamlProblem(err error) error {
	text := firstLine(err)
	var kinds *yaml.TypeError
	if errors.As(err, &kinds) && len(kinds.Errors) > 0 {
		text = kinds.Errors[0]
	}
	if m := yamlKind.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("line %s: %s: %s", m[1], notGroups, wants(m[2]))
	}
	if m := yamlUnknown.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("line %s: unknown key %s; known are targets and labels", m[1], strconv.Quote(bounded(m[2])))
	}
	return fmt.Errorf("%s: %s", notGroups, bounded(text))
}

// wants says in plain words what should stand where something of a Go type was
// expected.
func wants(goType string) string {
	switch goType {
	case reflect.TypeFor[[]targetGroup]().String():
		return "a list must stand here"
	case reflect.TypeFor[targetGroup]().String():
		return "{targets, labels} must stand here"
	case reflect.TypeFor[[]string]().String():
		return "targets must be a list of texts"
	case reflect.TypeFor[map[string]string]().String():
		return "labels must be texts by name"
	}
	return "a text must stand here"
}
