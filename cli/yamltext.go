package cli

import (
	"regexp"
	"slices"
	"strings"
)

// yaml11Words are texts, in lower case, that a YAML 1.1 parser (PyYAML, Ruby, older
// tools) does not read as text unless they are quoted; PyYAML rejects a document with
// a bare "=".
var yaml11Words = []string{
	"", "~", "null", "y", "n", "yes", "no", "on", "off", "true", "false", "=", "<<", ".inf", "+.inf", "-.inf", ".nan",
}

// yaml11Number matches all texts that such a parser may read as a number, in base 2,
// 8, 10, 16 or 60, or as a time, and a few more.
var yaml11Number = regexp.MustCompile(`^[-+]?\.?[0-9][0-9a-fA-FxobeEtTzZ_.,:+ -]*$`)

// ambiguous reports whether a text must be quoted so that every YAML parser reads it
// as text.
func ambiguous(s string) bool {
	return slices.Contains(yaml11Words, strings.ToLower(s)) || yaml11Number.MatchString(s)
}
