package collector

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// maxLabel is the maximum length of a label value in bytes: users choose many.
	maxLabel = 256
	// maxUnknownStates is the maximum number of series for states that only a newer
	// Ray has. Further ones are counted as otherState.
	maxUnknownStates = 16
	otherState       = "OTHER"
)

// label returns s as a label value: valid UTF-8, truncated to at most maxLabel bytes
// of whole runes.
func label(s string) string {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	if len(s) <= maxLabel {
		return s
	}
	end := maxLabel
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}

// extraLabels returns the names of the labels for keys that users have configured: the
// prefix and the key, with _ for each character that label names do not allow. A key
// whose label already exists is omitted.
func extraLabels(prefix string, keys []string) (kept, labels []string) {
	for _, key := range keys {
		name := prefix + strings.Map(func(r rune) rune {
			if r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) {
				return '_'
			}
			return r
		}, key)
		if !slices.Contains(labels, name) {
			kept, labels = append(kept, key), append(labels, name)
		}
	}
	return kept, labels
}

// valuesOf returns the value of each key, "" if there is none.
func valuesOf(m map[string]string, keys []string) []string {
	values := make([]string, len(keys))
	for i, key := range keys {
		values[i] = m[key]
	}
	return values
}

// stateSet emits one series for each known state, 1 for the current one and 0 for the
// others, and one for an unknown current state. It emits none if current is empty.
func stateSet(known []string, current string, emit *emitter) {
	if current == "" {
		return
	}
	for _, state := range known {
		emit.series(number(state == current), state)
	}
	if !slices.Contains(known, current) {
		emit.series(1, current)
	}
}

// countStates emits the count of each known state, including 0, and of at most
// maxUnknownStates unknown ones.
func countStates(known []string, counts map[string]int, emit func(n float64, state string)) {
	for _, state := range known {
		emit(float64(counts[state]), state)
	}
	unknown, other := 0, 0
	for _, state := range slices.Sorted(maps.Keys(counts)) {
		switch {
		case slices.Contains(known, state):
		case unknown < maxUnknownStates:
			unknown++
			emit(float64(counts[state]), state)
		default:
			other += counts[state]
		}
	}
	if other > 0 {
		emit(float64(other), otherState)
	}
}

// sortByRank sorts v so that what is kept under a limit comes first: by rank, lowest
// first, then by id, so that the selection is the same at each scrape.
func sortByRank[T any](v []T, rank func(T) int, id func(T) string) {
	slices.SortStableFunc(v, func(a, b T) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(id(a), id(b)))
	})
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// unix returns t in Unix seconds, and false for the zero time.
func unix(t time.Time) (float64, bool) {
	// Microseconds fit a float64 exactly. With nanoseconds, Ray's milliseconds would
	// be shown with a tail of digits.
	return float64(t.UnixMicro()) / 1e6, !t.IsZero()
}
