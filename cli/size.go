package cli

import (
	"fmt"
	"strconv"

	"raytap/bytesize"
)

// size is a flag for a number of bytes: plain, or with a unit such as 50MiB.
type size struct{ to *int64 }

// Set parses a flag's value.
func (s *size) Set(text string) error {
	n, err := bytesize.Parse(text)
	if err != nil {
		return fmt.Errorf("%q %w", text, err)
	}
	*s.to = n
	return nil
}

// String is the value in bytes.
func (s *size) String() string { return strconv.FormatInt(*s.to, 10) }
