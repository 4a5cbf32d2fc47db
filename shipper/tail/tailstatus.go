package tail

import "time"

// TailStatus is the status of one log that is tailed.
type Status struct {
	SubmissionID string
	Status       string // of the job, as last listed
	Transport    string // over which it is read; none before the first read
	State        string // reading, or waiting to try again
	LastRead     time.Time
	// Error is why the last read failed, maxShownError bytes of it at most; empty
	// once one went well, and where a log merely had to be asked for anew.
	Error string
	// Lines and Bytes are what the sink has taken since the log's start; bytes
	// count without line ends.
	Lines, Bytes uint64
}
