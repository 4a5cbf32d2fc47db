package shipper

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Durations are measured by our clock. If Ray's clock is two minutes late or
// early, the grace period stays as long.
func TestGracePeriod_RayClockOff(t *testing.T) {
	for _, off := range []time.Duration{-2 * time.Minute, 2 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			a := &agentOnly{log: numbered(0, 10, "\n")}
			recs := shipAgentOnly(t, a, func(*Shipper) {
				time.Sleep(time.Second)
				a.change(func() { a.over, a.end = true, time.Now().Add(off) })
				time.Sleep(8 * time.Second) // it is listed, and its grace period has lasted less than 5 s
				a.change(func() { a.log = append(a.log, "of a child\n"...) })
				time.Sleep(time.Minute)
			})
			if err := compareLines(recs, a.log); err != nil {
				t.Error(err)
			}
			var events []string
			for _, r := range recs {
				if r.Event != "" {
					events = append(events, r.Event)
				}
			}
			if got := strings.Join(events, " "); got != "start end" {
				t.Errorf("Ray's clock is off by %s: events %s", off, got)
			}
		})
	}
}
