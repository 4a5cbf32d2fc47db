package transport

import (
	"net/http"
	"testing"
	"time"
)

func TestClock_Offset(t *testing.T) {
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
		c.update(http.Header{"Date": {date}}, began, now)
		got := time.Duration(c.ahead.Load())
		if diff := (got - row.want).Abs(); diff > time.Second {
			t.Errorf("offset %s, response time %s: got %s", row.off, row.took, got)
		}
		c.update(http.Header{}, began, now)
		if time.Duration(c.ahead.Load()) != got {
			t.Error("a response without a Date changed the offset")
		}
	}
}
