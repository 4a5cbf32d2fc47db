package config

import (
	"fmt"
	"time"
	_ "time/tzdata" // raytap's image has no list of zones
)

// Record is how records are made of lines. As it comes, each line is one
// record, and its message is the line as the job printed it.
type Record struct {
	// Whether records carry the time that a line states, as line_time.
	LineTime bool `yaml:"line_time"`
	// Of times that name no zone: Europe/Berlin and the like.
	Timezone Zone `yaml:"timezone"`
	// Whether colours and other escape sequences are taken out of messages.
	StripANSI bool `yaml:"strip_ansi"`
	// What is joined into one record: none, or python: tracebacks, and indented
	// lines with the line before them. max_message_size bounds it too.
	Multiline string `yaml:"multiline"`
	// The most lines of a joined record.
	MultilineLines int `yaml:"multiline_lines"`
	// How long a line waits for those that may go on it.
	MultilineWait Duration `yaml:"multiline_wait"`
	// How often a progress bar makes a record, its last state. 0s: with each state.
	Progress Duration `yaml:"progress"`
}

// Zone is a time zone by its name in the IANA database.
type Zone string

// UnmarshalText takes a zone that is known.
func (z *Zone) UnmarshalText(b []byte) error {
	if _, err := time.LoadLocation(string(b)); err != nil || len(b) == 0 || string(b) == "Local" {
		return fmt.Errorf("%q is no time zone: write UTC, or one like Europe/Berlin", b)
	}
	*z = Zone(b)
	return nil
}

// Location gives the zone; one that is not known is UTC.
func (z Zone) Location() *time.Location {
	l, err := time.LoadLocation(string(z))
	if err != nil {
		return time.UTC
	}
	return l
}

func defaultRecord() Record {
	return Record{Timezone: "UTC", Multiline: "none", MultilineLines: 500, MultilineWait: Duration(1500 * time.Millisecond)}
}

// maxMultilineLines bounds what is remembered of the lines of one record.
const maxMultilineLines = 10_000

func (k *checker) record(r *Record) {
	const at = "shipper.record."
	k.oneOf(at+"multiline", r.Multiline, "none", "python")
	if r.MultilineLines < 2 || r.MultilineLines > maxMultilineLines {
		k.fail(at+"multiline_lines", "must be 2 to %d", maxMultilineLines)
	}
	k.lasts(at+"multiline_wait", r.MultilineWait, 100*time.Millisecond)
	k.lasts(at+"progress", r.Progress, 0)
}
