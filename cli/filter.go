package cli

import (
	"strings"

	"raytap/namepattern"
)

// containsFold reports whether wanted contains value, regardless of case. An
// empty list contains every value.
func containsFold(wanted []string, value string) bool {
	for _, w := range wanted {
		if strings.EqualFold(value, w) {
			return true
		}
	}
	return len(wanted) == 0
}

// matchesAny reports whether a name matches one of the patterns, or there are no
// patterns.
func matchesAny(name string, patterns []string) bool {
	for _, p := range patterns {
		if namepattern.Match(p, name) {
			return true
		}
	}
	return len(patterns) == 0
}

// checkPatterns returns an error for the first invalid pattern.
func checkPatterns(flag string, patterns []string) error {
	for _, p := range patterns {
		if err := namepattern.Check(p); err != nil {
			return usagef("--%s %q %v", flag, p, err)
		}
	}
	return nil
}

// hasAnyPrefix reports whether s begins with one of the prefixes, or there are no
// prefixes.
func hasAnyPrefix(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return len(prefixes) == 0
}

// limitRows returns the first limit elements of a list, and reports on stderr if
// there are more; 0 is no limit.
func limitRows[T any](c Console, list []T, limit int, what string) []T {
	if limit <= 0 || len(list) <= limit {
		return list
	}
	c.infof("showing %d of %d %s (--limit)", limit, len(list), what)
	return list[:limit]
}
