package cli

import (
	"testing"
	"time"
)

func TestFormatAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                       "0s ago",
		850 * time.Millisecond:  "0s ago",
		45 * time.Second:        "45s ago",
		200 * time.Second:       "3m20s ago",
		3 * time.Minute:         "3m ago",
		59*time.Minute + 59:     "59m ago",
		125 * time.Minute:       "2h5m ago",
		23 * time.Hour:          "23h ago",
		76 * time.Hour:          "3d4h ago",
		1000 * time.Hour:        "41d ago",
		-500 * time.Millisecond: "0s ago", // two clocks differ
		-90 * time.Second:       "in 1m30s",
	} {
		if got := formatAge(now, now.Add(-d)); got != want {
			t.Errorf("%s: got %q, want %q", d, got, want)
		}
	}
	if got := formatDuration(850 * time.Millisecond); got != "850ms" {
		t.Errorf("formatDuration(850ms) = %q", got)
	}
	if got := formatAge(now, time.Time{}); got != "" {
		t.Errorf("formatAge of the zero time = %q", got)
	}
}

func TestFormatBytes(t *testing.T) {
	for n, want := range map[float64]string{
		0: "0B", 1023: "1023B", 1024: "1KiB", 1536: "1.5KiB", 12.5 * (1 << 30): "12.5GiB", 1 << 60: "1024PiB",
	} {
		if got := formatBytes(n); got != want {
			t.Errorf("%g: got %q, want %q", n, got, want)
		}
	}
}

func TestSizeFlag(t *testing.T) {
	for in, want := range map[string]int64{"0": 0, "4096": 4096, "50MiB": 50 << 20, "1KB": 1000, "nope": -1, "": -1, "1.5": -1} {
		got := int64(-1)
		s := size{&got}
		if err := s.Set(in); (err != nil) != (want < 0) || got != want {
			t.Errorf("%q: got %d, %v, want %d", in, got, err, want)
		}
	}
}
