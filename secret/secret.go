// Package secret has a text that is never printed.
package secret

import (
	"fmt"
	"strconv"
)

// Placeholder replaces a secret where it would be printed.
const Placeholder = "<secret>"

// Text is a secret. Every fmt verb, JSON, YAML and text encoding shows the placeholder,
// or nothing if it is empty. string(t) is the secret itself.
//
// fmt calls no methods of unexported fields: a struct keeps a *Text there, of which a
// dump shows the address.
type Text string

// String returns the placeholder, or "" for an empty secret.
func (t Text) String() string {
	if t == "" {
		return ""
	}
	return Placeholder
}

// GoString returns String, quoted.
func (t Text) GoString() string { return strconv.Quote(t.String()) }

// Format prints String under every verb, %x and %d included.
func (t Text) Format(f fmt.State, verb rune) { Format(f, verb, t.String()) }

// MarshalText returns String. encoding/json uses it, too.
func (t Text) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// MarshalYAML returns String.
func (t Text) MarshalYAML() (any, error) { return t.String(), nil }

// Format prints s under any verb, quoted for %q and %#v: for the Format methods of
// types that redact.
func Format(f fmt.State, verb rune, s string) {
	if verb == 'q' || (verb == 'v' && f.Flag('#')) {
		s = strconv.Quote(s)
	}
	fmt.Fprint(f, s)
}
