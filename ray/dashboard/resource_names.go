package dashboard

import (
	"regexp"
	"strings"
	"unicode"
)

// camelCase returns a name as Ray's dashboard writes the keys of its responses,
// including resource names: parts between underscores, each except the first in
// title case (my_custom_res -> myCustomRes, TPU-v4_head -> TPU-v4Head). It is not
// reversible.
func camelCase(name string) string {
	first, rest, _ := strings.Cut(name, "_")
	var b strings.Builder
	b.WriteString(first)
	for part := range strings.SplitSeq(rest, "_") {
		inWord := false
		for _, r := range part {
			letter := unicode.IsUpper(r) || unicode.IsLower(r) || unicode.IsTitle(r)
			switch {
			case letter && inWord:
				b.WriteRune(unicode.ToLower(r))
			case letter:
				b.WriteRune(unicode.ToTitle(r))
			default:
				b.WriteRune(r)
			}
			inWord = letter
		}
	}
	return b.String()
}

// A placement group reserves resources under names of its own: CPU_group_<id>
// for the group, CPU_group_<n>_<id> for its bundle n, bundle_group_… for the
// group itself. An id has 36 hex digits.
var (
	groupName  = regexp.MustCompile(`^(.+)_group_(?:\d+_)?[0-9a-fA-F]{36}$`)
	groupCamel = regexp.MustCompile(`^.+Group\d*[0-9a-fA-F]{36}$`)
)

// groupMarker is the name under which a group counts its bundles; it is not a resource.
const groupMarker = "bundle"

// isGroupResource reports whether a name is one of these, camel-cased or not.
func isGroupResource(name string) bool {
	return groupName.MatchString(name) || groupCamel.MatchString(name)
}

// nameMap maps camel-cased names to real ones; "" if two real names share one.
type nameMap map[string]string

// add adds a real name.
func (m nameMap) add(real string) {
	camel := camelCase(real)
	if old, seen := m[camel]; seen && old != real {
		real = ""
	}
	m[camel] = real
}

// real returns the real name, or "" if there is none or more than one.
func (m nameMap) real(camel string) string { return m[camel] }
