package dashboard

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"strconv"
	"strings"

	"raytap/ray"
)

// This file parses the autoscaler's report as text, the output of `ray status`. A head
// with autoscaler v2 offers nothing else over HTTP: /api/cluster_status stays null,
// and with format=1 the dashboard queries the GCS and formats the result (2.30.0 to
// 2.60.0; the lines are those of Ray's format_info_string and ClusterStatusFormatter).
// Resources have their real names in it.

// textStatus is a parsed report.
type textStatus struct {
	usage   map[string]textUsage // by real name
	pending []ray.Demand         // of tasks and actors
	pgs     []ray.Demand         // of bundles of pending placement groups
	// pgsMerged is true if a line stands for several groups. Ray prints the groups of one
	// strategy and state as one set of bundles with their number, even if their bundles
	// differ (2.60.0), so pgs is wrong then.
	pgsMerged bool
	skipped   int // lines that could not be parsed
}

// textUsage is a resource's line. Memory is rounded to two places of its unit.
type textUsage struct {
	ray.Usage
	totalText string
	allUsed   bool // used and total are printed alike
}

const (
	reportHeader     = "Autoscaler status:"
	reservedInGroups = " reserved in placement groups)"
)

// usageLine is "used/total name", with an optional note about placement groups: their
// bundles are taken from the resource, but the report counts as used only what is in
// use within the groups.
var (
	usageLine  = regexp.MustCompile(`^ ([^ /]+)/([^ /]+) (.+)$`)
	groupsPart = regexp.MustCompile(`^(.+) \(([^ ]+) used of ([^ ]+) reserved in placement groups\)$`)
	demandTail = regexp.MustCompile(`^: (\d+)\+ pending tasks/actors`)
	bundleTail = regexp.MustCompile(`^ \* (\d+)`)
	groupsTail = regexp.MustCompile(`^ \([^()]*\): (\d+)\+ pending placement groups$`)
)

// parseReport parses a report, and returns false for any other text: before the first
// report of autoscaler v1 Ray returns a sentence instead.
func parseReport(text string) (textStatus, bool) {
	header, rest, _ := strings.Cut(text, "\n")
	if !strings.HasPrefix(header, "=") || !strings.Contains(header, reportHeader) {
		return textStatus{}, false
	}
	s := textStatus{usage: map[string]textUsage{}}
	sections := 0
	var read func(line string) bool
	for line := range strings.SplitSeq(rest, "\n") {
		if !strings.HasPrefix(line, " ") {
			read = nil
			switch line {
			case "Total Usage:", "Usage:": // the second before Ray 2.53
				read = s.readUsage
				sections++
			case "Pending Demands:", "Demands:":
				read = s.readDemand
				sections++
			}
			continue
		}
		if read != nil && !strings.HasPrefix(line, " (no ") && !read(line) {
			s.skipped++
		}
	}
	return s, sections == 2
}

func (s *textStatus) readUsage(line string) bool {
	m := usageLine.FindStringSubmatch(line)
	if m == nil {
		return false
	}
	name, held, inUse := m[3], 0.0, 0.0
	if strings.HasSuffix(name, reservedInGroups) {
		g := groupsPart.FindStringSubmatch(name)
		if g == nil {
			return false
		}
		var ok1, ok2 bool
		name = g[1]
		inUse, ok1 = parseAmount(name, g[2])
		held, ok2 = parseAmount(name, g[3])
		if !ok1 || !ok2 {
			return false
		}
	}
	used, ok1 := parseAmount(name, m[1])
	total, ok2 := parseAmount(name, m[2])
	if !ok1 || !ok2 {
		return false
	}
	s.usage[name] = textUsage{
		Usage:     ray.Usage{Used: min(max(0, used+held-inUse), total), Total: total},
		totalText: m[2], allUsed: m[1] == m[2] && held == inUse,
	}
	return true
}

func (s *textStatus) readDemand(line string) bool {
	shape, rest, ok := parsePythonDict(strings.TrimPrefix(line, " "))
	if !ok {
		return false
	}
	if m := demandTail.FindStringSubmatch(rest); m != nil {
		n, err := strconv.Atoi(m[1])
		if err == nil {
			s.pending = append(s.pending, ray.Demand{Resources: shape, Count: n})
		}
		return err == nil
	}
	var bundles []ray.Demand
	for {
		m := bundleTail.FindStringSubmatch(rest)
		if m == nil {
			return false
		}
		n, err := strconv.Atoi(m[1])
		if err != nil {
			return false
		}
		bundles = append(bundles, ray.Demand{Resources: shape, Count: n})
		rest = rest[len(m[0]):]
		if end := groupsTail.FindStringSubmatch(rest); end != nil {
			groups, err := strconv.Atoi(end[1])
			if err != nil {
				return false
			}
			s.pgsMerged = s.pgsMerged || groups > 1
			s.pgs = append(s.pgs, bundles...)
			return true
		}
		if shape, rest, ok = parsePythonDict(strings.TrimPrefix(rest, ", ")); !ok {
			return false
		}
	}
}

// memoryUnits are the units of Ray's format_memory.
var memoryUnits = []struct {
	name string
	size float64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// isMemory reports whether Ray prints a resource in units of memory.
func isMemory(name string) bool { return name == "memory" || name == "object_store_memory" }

// parseAmount parses an amount of a resource.
func parseAmount(name, text string) (float64, bool) {
	unit := 1.0
	if isMemory(name) {
		for _, u := range memoryUnits {
			if number, ok := strings.CutSuffix(text, u.name); ok {
				text, unit = number, u.size
				break
			}
		}
	}
	v, err := strconv.ParseFloat(text, 64)
	return v * unit, err == nil && !math.IsNaN(v) && !math.IsInf(v, 0)
}

// formatMemory formats bytes like Ray's format_memory.
func formatMemory(bytes float64) string {
	for _, u := range memoryUnits {
		if bytes >= u.size && u.size > 1 {
			return fmt.Sprintf("%.2f%s", bytes/u.size, u.name)
		}
	}
	return fmt.Sprintf("%dB", int64(bytes))
}

// exactUsage returns the report's usage, with rounded totals replaced by the exact
// ones of the node list where they agree.
func exactUsage(report map[string]textUsage, exact map[string]float64) map[string]ray.Usage {
	out := make(map[string]ray.Usage, len(report))
	for name, u := range report {
		usage := u.Usage
		if total, known := exact[name]; known && isMemory(name) && formatMemory(total) == u.totalText {
			usage.Total = total
			if usage.Used = min(usage.Used, total); u.allUsed {
				usage.Used = total
			}
		}
		out[name] = usage
	}
	return out
}

// nodeUsage parses one node's part of a report, which Ray puts into the node summary
// (nodeLogicalResources). It returns nil if there is none.
func nodeUsage(text string, exact map[string]float64) map[string]ray.Usage {
	s := textStatus{usage: map[string]textUsage{}}
	for line := range strings.SplitSeq(text, "\n") {
		if line != "" {
			s.readUsage(" " + line)
		}
	}
	if len(s.usage) == 0 {
		return nil
	}
	used := exactUsage(s.usage, exact)
	maps.DeleteFunc(used, func(name string, _ ray.Usage) bool { return isGroupResource(name) })
	return used
}
