package cli

import (
	"regexp"
	"slices"
	"strings"
)

// yaml11Words are texts that a reader of YAML 1.1 (PyYAML, Ruby, older tools)
// takes for something else where they stand unquoted, in lower case; "=" makes
// PyYAML refuse the whole document.
var yaml11Words = []string{
	"", "~", "null", "y", "n", "yes", "no", "on", "off", "true", "false", "=", "<<", ".inf", "+.inf", "-.inf", ".nan",
}

// yaml11Number fits what such a reader may take for a number, in base 2, 8, 10,
// 16 or 60, or for a time, and a little more.
var yaml11Number = regexp.MustCompile(`^[-+]?\.?[0-9][0-9a-fA-FxobeEtTzZ_.,:+ -]*$`)

// ambiguous reports whether a text has to be quoted so that every reader of YAML
// takes it for a text.
func ambiguous(s string) bool {
	return slices.Contains(yaml11Words, strings.ToLower(s)) || yaml11Number.MatchString(s)
}
