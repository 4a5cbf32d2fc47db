package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/alecthomas/kingpin/v2"
)

// choices is a flag of which each value is one of a few, whatever its case, or
// several of them with commas between.
type choices struct {
	flag  string
	known []string
	to    *[]string
}

// choiceFlag adds such a flag, which may be repeated, and is completed. also are
// values that are taken and not offered.
func choiceFlag(cmd *kingpin.CmdClause, flag, help, holder string, to *[]string, known []string, also ...string) {
	cmd.Flag(flag, help+"; several with commas, or repeated.").PlaceHolder(holder).HintOptions(known...).
		SetValue(&choices{flag, append(slices.Clone(known), also...), to})
}

// Set takes a value of the command line.
func (c *choices) Set(text string) error {
	for value := range strings.SplitSeq(text, ",") {
		at := slices.IndexFunc(c.known, func(k string) bool { return strings.EqualFold(k, strings.TrimSpace(value)) })
		if at < 0 {
			return fmt.Errorf("--%s %q is unknown; known are %s", c.flag, value, strings.Join(c.known, ", "))
		}
		*c.to = append(*c.to, c.known[at])
	}
	return nil
}

// String is what was given.
func (c *choices) String() string { return strings.Join(*c.to, ",") }

// IsCumulative says that the flag may be repeated.
func (c *choices) IsCumulative() bool { return true }

// wholeNumber is a flag that is a whole number from 0 on.
type wholeNumber struct {
	flag string
	set  func(int64)
}

// Set takes a value of the command line.
func (c wholeNumber) Set(text string) error {
	n, err := strconv.ParseInt(text, 10, 0)
	if err != nil || n < 0 {
		return fmt.Errorf("--%s %q is not a whole number from 0 on", c.flag, text)
	}
	c.set(n)
	return nil
}

// String is empty: the default is part of the help.
func (c wholeNumber) String() string { return "" }

// counted makes a flag one.
func counted[N int | int64](flag *kingpin.FlagClause, name string, to *N) {
	flag.SetValue(wholeNumber{name, func(n int64) { *to = N(n) }})
}
