package daemon

import (
	"fmt"
	"regexp"

	"github.com/prometheus/client_golang/prometheus"

	"raytap/collector"
	"raytap/config"
)

// familyName finds the name in a description; client_golang tells it in this
// form alone.
var familyName = regexp.MustCompile(`^Desc\{fqName: "([^"]*)"`)

// Warnings returns what of a configuration is valid and still cannot be meant:
// patterns of collector.exclude_metrics that match no family, and modules whose TLS files
// cannot be used.
func Warnings(c config.Config) []string {
	all := checkModules(c)
	if len(c.Collector.ExcludeMetrics) == 0 {
		return all
	}
	names := familyNames()
	for i, p := range c.Collector.ExcludeMetrics {
		if !drops([]config.Pattern{p}, names...) {
			all = append(all, fmt.Sprintf("collector.exclude_metrics[%d]: %q matches no family: "+
				"it must match a whole name, such as raytap_node_.*, without the _bucket, _sum or _count of a histogram", i, p))
		}
	}
	return all
}

// drops reports whether a pattern matches one of families.
func drops(patterns []config.Pattern, families ...string) bool {
	for _, p := range patterns {
		for _, name := range families {
			if p.MatchString(name) {
				return true
			}
		}
	}
	return false
}

// familyNames are the families that a page can have, raytap's own among them.
func familyNames() []string {
	names := []string{"promhttp_metric_handler_errors_total"} // of the page's handler
	for _, f := range collector.Families() {
		names = append(names, f.Name)
	}
	registry := OwnMetrics()
	descriptions := make(chan *prometheus.Desc)
	go func() {
		registry.Describe(descriptions)
		close(descriptions)
	}()
	for d := range descriptions {
		if m := familyName.FindStringSubmatch(d.String()); m != nil {
			names = append(names, m[1])
		}
	}
	return names
}
