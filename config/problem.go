package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one error in a configuration.
type Problem struct {
	Path    string // "clusters[1].node_agents.allow[0]"; "" for the whole file
	Line    int    // in the file, from 1; 0 if unknown
	Value   string // as written in the file, truncated; "" for secrets and mappings
	Message string // what is wrong, and what to write instead
}

// Problems are all errors of one configuration, in the order of the file. As an
// error it has one line for each.
type Problems struct {
	File string // "" if there is none
	List []Problem
}

// Error returns lines such as `raytap.yaml:7: clusters[0].timeout: "10": needs a unit, such as 10s or 10m`.
func (p *Problems) Error() string {
	return strings.Join(p.Lines(), "\n")
}

// Lines returns one line for each problem.
func (p *Problems) Lines() []string {
	lines := make([]string, 0, len(p.List))
	for _, q := range p.List {
		var b strings.Builder
		if p.File != "" {
			b.WriteString(p.File)
			if q.Line > 0 {
				fmt.Fprintf(&b, ":%d", q.Line)
			}
			b.WriteString(": ")
		}
		if q.Path != "" {
			b.WriteString(q.Path + ": ")
		}
		if q.Value != "" {
			fmt.Fprintf(&b, "%q: ", q.Value)
		}
		b.WriteString(q.Message)
		lines = append(lines, b.String())
	}
	return lines
}

// sorted sorts problems by line; those without a line come last.
func sorted(list []Problem) []Problem {
	slices.SortStableFunc(list, func(a, b Problem) int {
		if (a.Line == 0) != (b.Line == 0) {
			return cmp.Compare(b.Line, a.Line)
		}
		return cmp.Compare(a.Line, b.Line)
	})
	return list
}

// maxValue is the length, in bytes, to which values in messages are truncated.
const maxValue = 80

func bounded(s string) string {
	if len(s) <= maxValue {
		return s
	}
	return strings.ToValidUTF8(s[:maxValue], "") + "…"
}

// nearest returns the candidate that key is probably a typo of, or "".
func nearest(key string, candidates []string) string {
	best, at := "", 3
	if len(key) < 6 {
		at = 2
	}
	k := strings.ToLower(strings.NewReplacer("-", "_", " ", "_").Replace(key))
	for _, c := range candidates {
		if d := distance(k, c); d < at || strings.ReplaceAll(k, "_", "") == strings.ReplaceAll(c, "_", "") {
			best, at = c, d
		}
	}
	return best
}

// distance returns the number of single-byte edits from a to b, where a swap of
// neighbours counts as one.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}
