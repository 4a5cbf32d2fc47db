package record

import (
	"maps"
	"slices"
	"sync/atomic"
)

// Labels are keys at the top level of the records of many logs, whose values may change: a
// record has those of the moment when it is encoded. The zero value and nil have none. Safe
// for concurrent use.
type Labels struct{ encoded atomic.Pointer[[]byte] }

// Set replaces the keys and their values; empty values are omitted. No key may be one of
// Options.Labels.
func (l *Labels) Set(keys map[string]string) {
	var b []byte
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		b = appendString(b, key, keys[key])
	}
	l.encoded.Store(&b)
}

// appendTo appends the keys and their values as they are now.
func (l *Labels) appendTo(b []byte) []byte {
	if l == nil {
		return b
	}
	if encoded := l.encoded.Load(); encoded != nil {
		b = append(b, *encoded...)
	}
	return b
}
