package shipper

import (
	"strings"
	"testing"
	"time"
)

// The law: a step of the wall clock changes no duration.
func TestAMomentKeepsTheMonotonicClock(t *testing.T) {
	var m moment
	if m.isSet() || !m.get().IsZero() {
		t.Error("the zero value is a time")
	}
	now := time.Now()
	m.setFirst(now)
	m.setFirst(now.Add(time.Hour))
	if !strings.Contains(m.get().String(), " m=+") || !m.get().Equal(now) {
		t.Errorf("%s was set, %s is kept", now, m.get())
	}
	if m.clear(); m.isSet() {
		t.Error("it is cleared and set")
	}
}
