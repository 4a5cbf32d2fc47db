package config

import (
	"fmt"
	"time"
	_ "time/tzdata" // raytap's image has no time zone database
)

// Record is how records are made of lines. By default each line is one record,
// and its message is the line as the job printed it.
type Record struct {
	// Whether to parse a timestamp in the line, and add it to records as line_time.
	LineTime bool `yaml:"line_time"`
	// Time zone of timestamps without one, such as Europe/Berlin.
	Timezone Zone `yaml:"timezone"`
	// Whether to remove colours and other ANSI escape sequences from messages.
	StripANSI bool `yaml:"strip_ansi"`
	// Whether to add to a line of another process, which Ray prints to a driver log, what
	// Ray puts before it and after it: relayed, worker_name, pid, node_ip, repeated.
	Relayed bool `yaml:"relayed"`
	// Whether to add the ids in lines that Ray logs as JSON, such as actor_id and task_id.
	Structured bool `yaml:"structured"`
	// Joins lines into one record.
	Multiline Multiline `yaml:"multiline"`
	// Minimum time between two records of one progress bar. 0s: a record for each
	// update.
	ProgressInterval Duration `yaml:"progress_interval"`
}

// Multiline joins lines into one record.
type Multiline struct {
	// Whether to join Python tracebacks, and indented lines with the line before
	// them.
	Enabled bool `yaml:"enabled"`
	// How long a line waits for lines that continue it.
	MaxWaitTime Duration `yaml:"max_wait_time"`
	// Maximum number of lines of a record. max_message_size limits its bytes.
	MaxLines int `yaml:"max_lines"`
}

// Zone is the name of a time zone in the IANA database.
type Zone string

// UnmarshalText accepts known zones.
func (z *Zone) UnmarshalText(b []byte) error {
	if _, err := time.LoadLocation(string(b)); err != nil || len(b) == 0 || string(b) == "Local" {
		return fmt.Errorf("%q is not a time zone, such as UTC or Europe/Berlin", b)
	}
	*z = Zone(b)
	return nil
}

// Location returns the zone, or UTC for an unknown one.
func (z Zone) Location() *time.Location {
	l, err := time.LoadLocation(string(z))
	if err != nil {
		return time.UTC
	}
	return l
}

func defaultRecord() Record {
	return Record{Timezone: "UTC", Relayed: true, Structured: true, Multiline: Multiline{MaxWaitTime: Duration(1500 * time.Millisecond), MaxLines: 500}}
}

// maxMultilineLines bounds the lines that are held for one record.
const maxMultilineLines = 10_000

func (k *checker) record(r *Record) {
	const at = "shipper.record."
	k.minDuration(at+"multiline.max_wait_time", r.Multiline.MaxWaitTime, 100*time.Millisecond)
	if n := r.Multiline.MaxLines; n < 2 || n > maxMultilineLines {
		k.fail(at+"multiline.max_lines", "must be 2 to %d", maxMultilineLines)
	}
	k.minDuration(at+"progress_interval", r.ProgressInterval, 0)
}
