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
	// Tracebacks, and indented lines with the line before them, as one record.
	Multiline Multiline `yaml:"multiline"`
	// How often a progress bar makes a record, its last state. 0s: with each state.
	ProgressInterval Duration `yaml:"progress_interval"`
}

// Multiline joins lines into one record.
type Multiline struct {
	// Whether lines are joined: Python tracebacks, and indented lines with the line
	// before them.
	Enabled bool `yaml:"enabled"`
	// How long a line waits for those that may continue it.
	MaxWaitTime Duration `yaml:"max_wait_time"`
	// The most lines of a joined record. max_message_size bounds its bytes.
	MaxLines int `yaml:"max_lines"`
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
	return Record{Timezone: "UTC", Multiline: Multiline{MaxWaitTime: Duration(1500 * time.Millisecond), MaxLines: 500}}
}

// maxMultilineLines bounds what is remembered of the lines of one record.
const maxMultilineLines = 10_000

func (k *checker) record(r *Record) {
	const at = "shipper.record."
	k.lasts(at+"multiline.max_wait_time", r.Multiline.MaxWaitTime, 100*time.Millisecond)
	if n := r.Multiline.MaxLines; n < 2 || n > maxMultilineLines {
		k.fail(at+"multiline.max_lines", "must be 2 to %d", maxMultilineLines)
	}
	k.lasts(at+"progress_interval", r.ProgressInterval, 0)
}
