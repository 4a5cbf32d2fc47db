package clock

import (
	"strings"
	"testing"
	"time"
)

// The law: a step of the wall clock changes no duration.
func TestAMomentKeepsTheMonotonicClock(t *testing.T) {
	var m Moment
	if m.IsSet() || !m.Get().IsZero() {
		t.Error("the zero value is a time")
	}
	now := time.Now()
	m.SetFirst(now)
	m.SetFirst(now.Add(time.Hour))
	if !strings.Contains(m.Get().String(), " m=+") || !m.Get().Equal(now) {
		t.Errorf("%s was set, %s is kept", now, m.Get())
	}
	if m.Clear(); m.IsSet() {
		t.Error("it is cleared and set")
	}
}
