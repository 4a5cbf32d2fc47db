// Package leftout counts and tells what answers lacked: what both dialects do
// with a row that they cannot decode, and with a list that is not whole.
package leftout

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
)

// every is the pause between two warnings of one kind.
const every = time.Minute

// Log counts rows, and warns of each kind of thing at most once a minute. Its
// zero value is ready and tells nobody; it is safe for concurrent use.
type Log struct {
	To logrus.FieldLogger // nil for nobody; not to be changed after the first use

	rows   atomic.Uint64
	fields atomic.Uint64
	mu     sync.Mutex
	warned map[string]time.Time // kind of warning -> when it was last given
}

// Rows notes that n rows of a list could not be decoded; 0 is none.
func (l *Log) Rows(list string, n int) {
	if n > 0 {
		l.rows.Add(uint64(n))
		l.Warn("rows of a list could not be decoded and are left out", logrus.Fields{"list": list, "rows": n})
	}
}

// Fields notes that n fields of a list's rows were not what they should be, or
// longer than what is kept; 0 is none.
func (l *Log) Fields(list string, n int) {
	if n > 0 {
		l.fields.Add(uint64(n))
		l.Warn("fields of an answer have another type than expected, or are too long, and are omitted or cut", logrus.Fields{"list": list, "fields": n})
	}
}

// AllFields returns how many fields were noted.
func (l *Log) AllFields() uint64 { return l.fields.Load() }

// AllRows is how many rows were noted.
func (l *Log) AllRows() uint64 { return l.rows.Load() }

// Warn logs one kind of warning at most once a minute. The kinds are constants.
func (l *Log) Warn(kind string, fields logrus.Fields) {
	if l.To == nil {
		return
	}
	l.mu.Lock()
	last, seen := l.warned[kind]
	quiet := seen && time.Since(last) < every
	if !quiet {
		if l.warned == nil {
			l.warned = map[string]time.Time{}
		}
		l.warned[kind] = time.Now()
	}
	l.mu.Unlock()
	if !quiet {
		l.To.WithFields(fields).Warn(kind)
	}
}
