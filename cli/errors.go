package cli

import (
	"errors"
	"fmt"
	"net/http"

	"raytap/ray"
)

// UsageError is a mistake on the command line or in the configuration.
type UsageError struct{ text string }

// Error describes the mistake.
func (e *UsageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return &UsageError{fmt.Sprintf(format, args...)} }

var errNotConfirmed = errors.New("not confirmed: nothing was changed")

// reportedError is an error that has already been printed.
type reportedError struct{ error }

// Unwrap returns the error that was printed.
func (e reportedError) Unwrap() error { return e.error }

// ErrorMessage returns what to print for the error of a command, with a hint
// where there is one; "" if the error has already been printed.
func ErrorMessage(err error) string {
	var reported reportedError
	if errors.As(err, &reported) {
		return ""
	}
	text := err.Error()
	var e *ray.Error
	if !errors.As(err, &e) {
		return text
	}
	if e.Code == http.StatusUnauthorized || e.Code == http.StatusForbidden && !errors.Is(err, ray.ErrTransportNotAllowed) {
		text += "; check the token (--token-file, auth in the configuration, or where Ray's own tools look)"
	}
	return text
}
