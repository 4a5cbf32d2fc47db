package cli

import (
	"errors"
	"strconv"

	"github.com/alecthomas/units"
)

// size is the value of a flag for a number of bytes, plain or with a unit: 4096, 50MiB.
type size struct{ to *int64 }

// Set parses a value of the command line.
func (s *size) Set(text string) error {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		var b units.Base2Bytes
		if b, err = units.ParseBase2Bytes(text); err != nil {
			return errors.New("must be a number of bytes, for example 4096 or 50MiB")
		}
		n = int64(b)
	}
	*s.to = n
	return nil
}

// String returns the value in bytes.
func (s *size) String() string { return strconv.FormatInt(*s.to, 10) }
