package transport

import (
	"net/http"
	"testing"
	"time"
)

// The law: the cluster's times are compared with the cluster's clock.
func TestTheServersClockIsKnownByItsAnswers(t *testing.T) {
	began := time.Now()
	for _, row := range []struct {
		off, took, want time.Duration
	}{
		{0, 0, 0}, {time.Second, time.Second, 0}, {-time.Second, 0, 0}, {-3 * time.Second, 10 * time.Second, 0},
		{-2 * time.Minute, 0, -2 * time.Minute}, {time.Hour, time.Second, time.Hour},
	} {
		var c clock
		now := began.Add(row.took)
		date := began.Add(row.took / 2).Add(row.off).UTC().Format(http.TimeFormat)
		c.note(http.Header{"Date": {date}}, began, now)
		got := time.Duration(c.ahead.Load())
		if diff := (got - row.want).Abs(); diff > time.Second {
			t.Errorf("off by %s, in an answer that took %s: %s", row.off, row.took, got)
		}
		c.note(http.Header{}, began, now)
		if time.Duration(c.ahead.Load()) != got {
			t.Error("an answer without a Date changed it")
		}
	}
}
