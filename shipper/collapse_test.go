package shipper

import "strings"

// collapseInvalid makes one of several U+FFFD in a row: strings.ToValidUTF8 writes one
// for a run of bad bytes, the encoder one for each.
func collapseInvalid(s string) string {
	for strings.Contains(s, "\uFFFD\uFFFD") {
		s = strings.ReplaceAll(s, "\uFFFD\uFFFD", "\uFFFD")
	}
	return s
}
