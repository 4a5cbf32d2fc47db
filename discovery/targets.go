package discovery

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"raytap/config"
)

// Labels with a meaning for raytap. Others are ignored: Prometheus may read the
// same file.
const (
	labelName   = "ray_cluster"
	labelAPI    = "__raytap_api"
	labelPrefix = "__raytap_path_prefix"
	labelScheme = "__scheme__"
)

// parseTargets parses the format of Prometheus' file_sd, a list of {targets,
// labels}: JSON if the name of the file ends in .json, else YAML. The error is the
// first thing that is wrong, and where.
func parseTargets(name string, data []byte) ([]config.Target, error) {
	groups, err := parseGroups(name, data)
	if err != nil {
		return nil, err
	}
	var out []config.Target
	for i, g := range groups {
		t := config.Target{Name: g.Labels[labelName], API: g.Labels[labelAPI], Scheme: g.Labels[labelScheme], Prefix: g.Labels[labelPrefix]}
		switch {
		case t.Name != "" && len(g.Targets) > 1:
			return nil, fmt.Errorf("group %d has %d targets and one %s for all of them: each cluster needs its own name", i+1, len(g.Targets), labelName)
		case t.Scheme != "" && t.Scheme != "http" && t.Scheme != "https":
			return nil, fmt.Errorf("group %d: %s must be http or https", i+1, labelScheme)
		case t.Prefix != "" && !strings.HasPrefix(t.Prefix, "/"):
			return nil, fmt.Errorf("group %d: %s must start with a slash", i+1, labelPrefix)
		}
		for _, label := range slices.Sorted(maps.Keys(g.Labels)) {
			if strings.HasPrefix(label, "__raytap_") && label != labelAPI && label != labelPrefix {
				return nil, fmt.Errorf("group %d: unknown label %.80s; use %s or %s", i+1, label, labelAPI, labelPrefix)
			}
		}
		for _, address := range g.Targets {
			t.Address = address
			out = append(out, t)
		}
	}
	return out, nil
}
