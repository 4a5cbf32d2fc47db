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
	// maxLabel bounds a label value in bytes: many are chosen by users.
	maxLabel = 256
	// maxUnknownStates bounds the states that a newer Ray may have beyond
	// those known; what exceeds it is counted under otherState.
	maxUnknownStates = 16
	otherState       = "OTHER"
)

// label makes s fit for a label value: valid UTF-8, at most maxLabel bytes,
// cut between runes.
func label(s string) string {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	if len(s) <= maxLabel {
		return s
	}
	cut := maxLabel
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut]
}

// extraLabels gives the names of labels that carry what users named by keys:
// the prefix and the key, with _ for each character that a label's name cannot
// hold. A key whose label another one has already is left out.
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

// valuesOf gives what stands under each key, "" where nothing does.
func valuesOf(m map[string]string, keys []string) []string {
	values := make([]string, len(keys))
	for i, key := range keys {
		values[i] = m[key]
	}
	return values
}

// stateSet emits one series per known state, 1 for the current one, and one
// for a current state that is not known. No state, no series.
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

// countStates emits how many are in each known state, 0 included: the list is
// complete, so that nobody being in a state is a fact. States that are not
// known get series of their own, a bounded number of them.
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

// largestRank sorts v so that what is to be kept under a cap comes first: by
// rank, then by id, so that the choice is the same at each scrape.
func largestRank[T any](v []T, rank func(T) int, id func(T) string) {
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

// unix gives t in Unix seconds; false for the zero time, which nobody told.
func unix(t time.Time) (float64, bool) {
	// Microseconds fit a float64 exactly, nanoseconds do not: Ray's
	// milliseconds would come out with a tail of digits.
	return float64(t.UnixMicro()) / 1e6, !t.IsZero()
}

// orDefault gives the standard where v is not set.
func orDefault[T int | time.Duration](v, standard T) T {
	if v <= 0 {
		return standard
	}
	return v
}
