package promql

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// Family is a metric family in docs/metrics.md.
type Family struct {
	Name    string
	Type    string // gauge, counter or histogram
	Labels  []string
	Example string
}

var section = regexp.MustCompile("(?m)^### (raytap_\\S+)\n\n(\\w+); (no labels|`[^.]+`)\\. .*\n\n```promql\n(.*)\n```$")

// ReadReference reads docs/metrics.md, which is generated from raytap's code.
func ReadReference(file string) ([]Family, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var all []Family
	for _, m := range section.FindAllStringSubmatch(string(text), -1) {
		f := Family{Name: m[1], Type: m[2], Example: m[4]}
		if m[3] != "no labels" {
			f.Labels = strings.Split(strings.Trim(m[3], "`"), "`, `")
		}
		all = append(all, f)
	}
	if n := strings.Count(string(text), "\n### "); n == 0 || n != len(all) {
		return nil, fmt.Errorf("%s has %d sections about metrics, of which %d could be parsed", file, n, len(all))
	}
	return all, nil
}
