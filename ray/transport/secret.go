package transport

import (
	"fmt"
	"io"
)

const redacted = "<redacted>"

// Secret holds a value that must never be printed: every fmt verb, JSON, YAML
// and text encoding shows "<redacted>" ("" for an empty secret). The value lies
// behind a pointer, so that a struct dump that cannot call methods shows an
// address. The zero value is an empty secret.
type Secret struct{ value *string }

// NewSecret wraps a value.
func NewSecret(value string) Secret {
	if value == "" {
		return Secret{}
	}
	return Secret{value: &value}
}

// Reveal gives the value itself, for the one place that sends it.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// Empty reports whether there is nothing to hide.
func (s Secret) Empty() bool { return s.value == nil }

// String redacts.
func (s Secret) String() string {
	if s.Empty() {
		return ""
	}
	return redacted
}

// GoString redacts.
func (s Secret) GoString() string { return fmt.Sprintf("%q", s.String()) }

// Format redacts under every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalJSON redacts.
func (s Secret) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, "%q", s.String()), nil }

// MarshalText redacts.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalYAML redacts.
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }
