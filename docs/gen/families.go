package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"raytap/collector"
	"raytap/daemon"
)

// listFamilies returns all metric families of raytap, sorted by name: those of clusters, and
// those of the process.
func listFamilies() ([]collector.Family, error) {
	own, err := ownFamilies()
	if err != nil {
		return nil, err
	}
	of := map[string]collector.Family{}
	for _, f := range append(own, collector.Families()...) {
		if strings.HasPrefix(f.Name, "raytap_") {
			of[f.Name] = f // a cluster's table has the exact type
		}
	}
	all := make([]collector.Family, 0, len(of))
	for _, f := range of {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b collector.Family) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// ownFamilies returns the families of a daemon's registry.
func ownFamilies() ([]collector.Family, error) {
	registry := daemon.SelfMetrics()
	gathered, err := registry.Gather()
	if err != nil {
		return nil, fmt.Errorf("gather raytap's own metrics: %w", err)
	}
	types := map[string]string{}
	for _, f := range gathered {
		types[f.GetName()] = strings.ToLower(f.GetType().String())
	}
	descriptions := make(chan *prometheus.Desc)
	go func() {
		registry.Describe(descriptions)
		close(descriptions)
	}()
	var all []collector.Family
	var failed error
	for d := range descriptions {
		f, err := parseDesc(d.String())
		if err != nil {
			failed = err
			continue // drain the channel
		}
		f.Type = types[f.Name]
		if f.Type == "" {
			f.Type = typeByName(f.Name)
		}
		all = append(all, f)
	}
	return all, failed
}

// typeByName returns the type of a family that has no series yet: only names of counters
// end in _total.
func typeByName(name string) string {
	if strings.HasSuffix(name, "_total") {
		return "counter"
	}
	return "gauge"
}

var (
	// The only way to read a Desc of client_golang is its String method.
	desc = regexp.MustCompile(`^Desc\{fqName: "([^"]*)", help: ("(?:[^"\\]|\\.)*")(?:, unit: "[^"]*")?, constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)
	pair = regexp.MustCompile(`([a-zA-Z_][a-zA-Z0-9_]*)="(?:[^"\\]|\\.)*"`)
)

func parseDesc(s string) (collector.Family, error) {
	m := desc.FindStringSubmatch(s)
	if m == nil {
		return collector.Family{}, fmt.Errorf("unknown format of a metric's description: %s", s)
	}
	help, err := strconv.Unquote(m[2])
	if err != nil {
		return collector.Family{}, fmt.Errorf("the help text of %s: %w", m[1], err)
	}
	f := collector.Family{Name: m[1], Help: help}
	for _, p := range pair.FindAllStringSubmatch(m[3], -1) {
		f.Labels = append(f.Labels, p[1])
	}
	for _, name := range strings.Split(m[4], ",") {
		name = strings.TrimSuffix(strings.TrimPrefix(name, "c("), ")") // a constrained label
		if name != "" {
			f.Labels = append(f.Labels, name)
		}
	}
	return f, nil
}
