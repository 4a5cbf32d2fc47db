package cli

import (
	"strings"

	"raytap/namepattern"
)

// oneOf tells whether a value is among those asked for, whatever their case;
// nothing asked for is everything.
func oneOf(value string, wanted []string) bool {
	for _, w := range wanted {
		if strings.EqualFold(value, w) {
			return true
		}
	}
	return len(wanted) == 0
}

// like reports whether a name matches one of the patterns; none matches all.
func like(name string, patterns []string) bool {
	for _, p := range patterns {
		if namepattern.Match(p, name) {
			return true
		}
	}
	return len(patterns) == 0
}

// checkPatterns refuses what is no pattern.
func checkPatterns(flag string, patterns []string) error {
	for _, p := range patterns {
		if err := namepattern.Check(p); err != nil {
			return usagef("--%s %q %v", flag, p, err)
		}
	}
	return nil
}

// beginsWith tells whether an id is among those asked for, or begins with one.
func beginsWith(id string, wanted []string) bool {
	for _, w := range wanted {
		if strings.HasPrefix(id, w) {
			return true
		}
	}
	return len(wanted) == 0
}

// cut keeps the first rows of a list where a limit is set, and tells if that
// left any out.
func cut[T any](c Console, list []T, limit int, what string) []T {
	if limit <= 0 || len(list) <= limit {
		return list
	}
	c.notef("%d of %d %s are shown (--limit)", limit, len(list), what)
	return list[:limit]
}
