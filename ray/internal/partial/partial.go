// Package partial counts and logs what answers lack: rows that cannot be decoded, and
// lists that are incomplete. The clients of both APIs use it.
package partial

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
)

// interval is the time between two warnings of one kind.
const interval = time.Minute

// Reporter counts rows and fields, and logs each kind of warning at most once a
// minute. Its zero value is ready and logs nothing; it is safe for concurrent use.
type Reporter struct {
	Logger logrus.FieldLogger // nil logs nothing; not to be changed after the first use

	rows   atomic.Uint64
	fields atomic.Uint64
	mu     sync.Mutex
	warned map[string]time.Time // kind of warning -> when it was last logged
}

// AddRows records that n rows of a list could not be decoded; 0 is none.
func (r *Reporter) AddRows(list string, n int) {
	if n > 0 {
		r.rows.Add(uint64(n))
		r.Warn("Skipped rows that could not be decoded", logrus.Fields{"list": list, "rows": n})
	}
}

// AddFields records that n fields of a list's rows had another type than expected, or
// were too long; 0 is none.
func (r *Reporter) AddFields(list string, n int) {
	if n > 0 {
		r.fields.Add(uint64(n))
		r.Warn("Omitted or truncated fields that have an unexpected type or are too long", logrus.Fields{"list": list, "fields": n})
	}
}

// TotalRows returns the number of rows recorded so far.
func (r *Reporter) TotalRows() uint64 { return r.rows.Load() }

// TotalFields returns the number of fields recorded so far.
func (r *Reporter) TotalFields() uint64 { return r.fields.Load() }

// Warn logs a message at most once a minute. Messages are constants: details belong
// into fields.
func (r *Reporter) Warn(message string, fields logrus.Fields) {
	if r.Logger == nil {
		return
	}
	r.mu.Lock()
	last, seen := r.warned[message]
	quiet := seen && time.Since(last) < interval
	if !quiet {
		if r.warned == nil {
			r.warned = map[string]time.Time{}
		}
		r.warned[message] = time.Now()
	}
	r.mu.Unlock()
	if !quiet {
		r.Logger.WithFields(fields).Warn(message)
	}
}
