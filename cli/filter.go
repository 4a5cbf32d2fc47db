package cli

import (
	"path"
	"strings"
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

// like tells whether a value matches one of the globs (path.Match); nothing
// asked for is everything.
func like(value string, globs []string) bool {
	for _, g := range globs {
		if ok, err := path.Match(g, value); ok && err == nil {
			return true
		}
	}
	return len(globs) == 0
}

// checkGlobs refuses patterns that path.Match cannot read.
func checkGlobs(flag string, globs []string) error {
	for _, g := range globs {
		if _, err := path.Match(g, ""); err != nil {
			return usagef("--%s %q is not a pattern: a [ without its ], or a \\ at the end", flag, g)
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
