package daemon

import (
	"fmt"
	"regexp"

	"github.com/prometheus/client_golang/prometheus"

	"raytap/collector"
	"raytap/config"
)

// familyName matches the name in a description: client_golang has no accessor.
var familyName = regexp.MustCompile(`^Desc\{fqName: "([^"]*)"`)

// keyWarning is for configurations that ship other logs than those of drivers. A copy of a
// log pipeline that identifies records without their key log drops most lines of workers.
const keyWarning = "shipper.sources: records of other sources than driver are distinguished by the key log. " +
	"A log pipeline, script or query that identifies records without it takes lines of different workers for the same one, and may drop them: " +
	"compare it with docs/pipelines.md (Properties of all configurations), above all if it is a copy"

// Warnings returns what is valid in a configuration but may not be what was meant: patterns
// of collector.exclude_metrics that match no metric, modules whose TLS files are unusable, and
// keyWarning.
func Warnings(c config.Config) []string {
	all := checkModules(c)
	if c.Shipper.HasNodeLogs() {
		all = append(all, keyWarning)
	}
	if len(c.Collector.ExcludeMetrics) == 0 {
		return all
	}
	names := familyNames()
	for i, p := range c.Collector.ExcludeMetrics {
		if !excludes([]config.Pattern{p}, names...) {
			all = append(all, fmt.Sprintf("collector.exclude_metrics[%d]: %q matches no metric: "+
				"it must match a whole name, such as raytap_node_.*, without the _bucket, _sum or _count of a histogram", i, p))
		}
	}
	return all
}

// excludes reports whether a pattern matches one of families.
func excludes(patterns []config.Pattern, families ...string) bool {
	for _, p := range patterns {
		for _, name := range families {
			if p.MatchString(name) {
				return true
			}
		}
	}
	return false
}

// familyNames returns all metrics that /metrics can have, raytap's own included.
func familyNames() []string {
	names := []string{"promhttp_metric_handler_errors_total"} // of promhttp
	for _, f := range collector.Families() {
		names = append(names, f.Name)
	}
	registry := SelfMetrics()
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
