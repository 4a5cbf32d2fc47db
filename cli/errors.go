package cli

import (
	"errors"
	"fmt"
	"net/http"

	"raytap/ray"
)

// UsageError is a mistake on the command line.
type UsageError struct{ text string }

// Error tells the mistake.
func (e *UsageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return &UsageError{fmt.Sprintf(format, args...)} }

var errRefused = errors.New("nothing was done")

// quiet is a failure that has been told already.
type quiet struct{ error }

// Unwrap gives what was told.
func (q quiet) Unwrap() error { return q.error }

// Explain is what to print of an error that a command ended with, a hint to
// what helps included; "" where all has been said.
func Explain(err error) string {
	var q quiet
	if errors.As(err, &q) {
		return ""
	}
	text := err.Error()
	var e *ray.Error
	if !errors.As(err, &e) {
		return text
	}
	if e.Code == http.StatusUnauthorized || e.Code == http.StatusForbidden {
		text += "; the token comes from --token-file, from auth in the configuration, or from where Ray's own tools look"
	}
	return text
}
