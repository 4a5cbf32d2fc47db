package config

import (
	"fmt"
	"slices"
	"strings"
)

// MaxTargetFile bounds a file of targets, in bytes.
const MaxTargetFile = maxFile

// The labels of a file of targets that mean something to raytap. Others are for
// Prometheus, which may read the same file, and are passed over.
const (
	labelName   = "ray_cluster"
	labelAPI    = "__raytap_api"
	labelPrefix = "__raytap_path_prefix"
	labelScheme = "__scheme__"
)

// Targets reads Prometheus' file_sd form, a list of {targets, labels}: JSON where
// the file's name ends in .json, else YAML. It returns all or none; the error
// tells the first thing that is wrong, and where.
func Targets(file string, data []byte) ([]Target, error) {
	groups, err := groups(file, data)
	if err != nil {
		return nil, err
	}
	var out []Target
	for i, g := range groups {
		t := Target{Name: g.Labels[labelName], API: g.Labels[labelAPI], Scheme: g.Labels[labelScheme], Prefix: g.Labels[labelPrefix]}
		switch {
		case t.Name != "" && len(g.Targets) > 1:
			return nil, fmt.Errorf("group %d names %d targets and gives all of them one %s: each cluster needs its own name", i+1, len(g.Targets), labelName)
		case t.Scheme != "" && t.Scheme != "http" && t.Scheme != "https":
			return nil, fmt.Errorf("group %d: %s must be http or https", i+1, labelScheme)
		case t.Prefix != "" && !strings.HasPrefix(t.Prefix, "/"):
			return nil, fmt.Errorf("group %d: %s must begin with a slash", i+1, labelPrefix)
		}
		for _, name := range sortedKeys(g.Labels) {
			if strings.HasPrefix(name, "__raytap_") && !slices.Contains([]string{labelAPI, labelPrefix}, name) {
				return nil, fmt.Errorf("group %d: the label %s is unknown; known are %s and %s", i+1, bounded(name), labelAPI, labelPrefix)
			}
		}
		for _, address := range g.Targets {
			t.Address = address
			out = append(out, t)
		}
	}
	return out, nil
}

// firstLine is what may be repeated of an error about a file's contents.
func firstLine(err error) string {
	line, rest, _ := strings.Cut(strings.TrimPrefix(err.Error(), "yaml: "), "\n")
	if line == "unmarshal errors:" {
		line, _, _ = strings.Cut(strings.TrimSpace(rest), "\n")
	}
	return bounded(line)
}
