package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/alecthomas/kingpin/v2"
)

// choiceValue is the value of a flag that takes one or more of a fixed set of
// choices, separated by commas and regardless of case.
type choiceValue struct {
	flag  string
	known []string
	to    *[]string
}

// choiceFlag adds such a flag, which may be repeated and is completed. hidden
// choices are accepted but not suggested.
func choiceFlag(cmd *kingpin.CmdClause, flag, help, placeholder string, to *[]string, known []string, hidden ...string) {
	cmd.Flag(flag, help+" (comma-separated or repeated).").PlaceHolder(placeholder).HintOptions(known...).
		SetValue(&choiceValue{flag, append(slices.Clone(known), hidden...), to})
}

// Set parses a value of the command line.
func (c *choiceValue) Set(text string) error {
	for value := range strings.SplitSeq(text, ",") {
		at := slices.IndexFunc(c.known, func(k string) bool { return strings.EqualFold(k, strings.TrimSpace(value)) })
		if at < 0 {
			return fmt.Errorf("--%s: unknown value %q: must be one of %s", c.flag, value, strings.Join(c.known, ", "))
		}
		*c.to = append(*c.to, c.known[at])
	}
	return nil
}

// String returns the values that were set.
func (c *choiceValue) String() string { return strings.Join(*c.to, ",") }

// IsCumulative reports that the flag may be repeated.
func (c *choiceValue) IsCumulative() bool { return true }

// countValue is the value of a flag that takes a whole number of at least 0.
type countValue struct {
	flag string
	set  func(int64)
}

// Set parses a value of the command line.
func (c countValue) Set(text string) error {
	n, err := strconv.ParseInt(text, 10, 0)
	if err != nil || n < 0 {
		return fmt.Errorf("--%s: %q must be a whole number, 0 or greater", c.flag, text)
	}
	c.set(n)
	return nil
}

// String returns "": the help text shows the default.
func (c countValue) String() string { return "" }

// countFlag makes a flag take a whole number of at least 0.
func countFlag[N int | int64](flag *kingpin.FlagClause, name string, to *N) {
	flag.SetValue(countValue{name, func(n int64) { *to = N(n) }})
}
