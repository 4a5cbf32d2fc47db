package parse

import (
	"strings"
	"testing"
	"time"
)

func TestTimestamp(t *testing.T) {
	zone := time.FixedZone("", 2*3600)
	now := time.Date(2026, 11, 24, 12, 0, 5, 0, time.UTC)
	for line, want := range map[string]string{
		"2026-11-24 12:00:00,123 INFO x":                            "2026-11-24T10:00:00.123Z",
		"2026-11-24T12:00:00.123456Z INFO x":                        "2026-11-24T12:00:00.123456Z",
		"2026-11-24T12:00:00+01:00 x":                               "2026-11-24T11:00:00Z",
		"2026-11-24 12:00:00.5 -0530 x":                             "2026-11-24T17:30:00.5Z",
		"2026-11-24T12:00:00+01 x":                                  "2026-11-24T11:00:00Z",
		"2026/11/24 12:00:00 x":                                     "2026-11-24T10:00:00Z",
		"2026-11-24 12:00:00":                                       "2026-11-24T10:00:00Z",
		"2026-11-24 12:00:00,123\tINFO worker.py:1821 -- Connected": "2026-11-24T10:00:00.123Z",
		"[2026-11-24 12:00:00,123 I 77 77] core_worker.cc:1: x":     "2026-11-24T10:00:00.123Z",
		"[2026-11-24 12:00:00] x":                                   "2026-11-24T10:00:00Z",
		"(train pid=77, ip=10.0.0.1) 2026-11-24 12:00:00,1 x":       "2026-11-24T10:00:00.1Z",
		"\x1b[32m2026-11-24 12:00:00\x1b[0m x":                      "2026-11-24T10:00:00Z",
		"INFO 2026-11-24 12:00:00,123 x":                            "2026-11-24T10:00:00.123Z",
		"INFO:2026-11-24 12:00:00,123:x":                            "2026-11-24T10:00:00.123Z",
		"[INFO] 2026-11-24 12:00:00 x":                              "2026-11-24T10:00:00Z",
		"[I 2026-11-24 12:00:00,123 app:1] x":                       "2026-11-24T10:00:00.123Z",
		"I1124 12:00:00.000001    77 a.cc:1] x":                     "2026-11-24T10:00:00.000001Z",
		"[W1124 12:00:00.5 a.cc:1] x":                               "2026-11-24T10:00:00.5Z",
		"I20261124 12:00:00.000001    77 a.cc:1] x":                 "2026-11-24T10:00:00.000001Z",
		"I0101 12:00:00.000000    77 a.cc:1] x":                     "2027-01-01T10:00:00Z",
		`{"time":"2026-11-24T12:00:00.5Z","level":"info"}`:          "2026-11-24T12:00:00.5Z",
		`{"level": "info", "timestamp": "2026-11-24 12:00:00,5"}`:   "2026-11-24T10:00:00.5Z",
		`{"ts":1795521600.25,"msg":"x"}`:                            "2026-11-24T12:00:00.25Z",
		`{"ts":1795521600,"msg":"x"}`:                               "2026-11-24T12:00:00Z",
		`{"time":1795521600250,"msg":"x"}`:                          "2026-11-24T12:00:00.25Z",
		`{"time":1795521600000000001,"msg":"x"}`:                    "2026-11-24T12:00:00.000000001Z",
		`{"asctime":"2026-11-24 12:00:00,123","message":"x"}`:       "2026-11-24T10:00:00.123Z",
		`{"@timestamp":"2026-11-24T12:00:00Z"}`:                     "2026-11-24T12:00:00Z",
		// Numbers after a time that are not its zone.
		"2026-11-24 12:00:00,123 -10 dB":             "2026-11-24T10:00:00.123Z",
		"2026-11-24 12:00:00 -1024 bytes":            "2026-11-24T10:00:00Z",
		"2026-11-24 12:00:00 -1000 bytes":            "2026-11-24T10:00:00Z",
		"2026-11-24 12:00:00 +1199 rows":             "2026-11-24T10:00:00Z",
		"2026-11-24 12:00:00 +0500 rows":             "2026-11-24T10:00:00Z",
		"2026-11-24 12:00:00 +1500":                  "2026-11-24T10:00:00Z",
		"2026-11-24 12:00:00 +10000 x":               "2026-11-24T10:00:00Z",
		"2026-11-24 12:00:00 -0100.5 x":              "2026-11-24T10:00:00Z",
		"2026-11-24 12:00:00 +0100%":                 "2026-11-24T10:00:00Z",
		"2026-11-24 12:00:00 +1 x":                   "2026-11-24T10:00:00Z",
		"2026-11-24 12:00:00 Zebra":                  "2026-11-24T10:00:00Z",
		"2026-11-24 12:00:00-5.2 x":                  "2026-11-24T10:00:00Z",
		"2026-11-24 12:00:00+01abc":                  "2026-11-24T10:00:00Z",
		"2026-11-24T12:00:00+23:59 x":                "2026-11-24T10:00:00Z",
		"2026-11-24T12:00:00Zone":                    "2026-11-24T10:00:00Z",
		"2026-11-24 12:00:00 +14:00 x":               "2026-11-23T22:00:00Z",
		"2026-11-24 12:00:00 +0545 INFO x":           "2026-11-24T06:15:00Z",
		"2026-11-24 12:00:00 -0700 started":          "2026-11-24T19:00:00Z",
		"2026-11-24 12:00:00 -0700 MST x":            "2026-11-24T19:00:00Z",
		"2026-11-24 12:00:00 +0000":                  "2026-11-24T12:00:00Z",
		"2026-11-24T12:00:00Z, x":                    "2026-11-24T12:00:00Z",
		"[2026-11-24 12:00:00 +0100] [77] [INFO] up": "2026-11-24T11:00:00Z",
		"":                                 "",
		"hello":                            "",
		"at 2026-11-24 12:00:00 it began":  "",
		"2026-11-24 is a date":             "",
		"2026-11-24 12:00 is no time":      "",
		"2026-13-24 12:00:00 x":            "",
		"2026-06-31 12:00:00 x":            "",
		"2026-11-24 25:00:00 x":            "",
		"X1124 12:00:00.000000":            "",
		"I1124 12:00:0":                    "",
		`{"time":"soon"}`:                  "",
		`{"time":5}`:                       "",
		`{"time":99999999999999999999}`:    "",
		`{"ts":"`:                          "",
		`{"elapsed time":"1"}`:             "",
		"I 5 things":                       "",
		"[":                                "",
		"INFO " + strings.Repeat("x", 100): "",
	} {
		got := ""
		if at, ok := Timestamp([]byte(line), now.UnixNano(), zone); ok {
			got = at.UTC().Format(time.RFC3339Nano)
		}
		if got != want {
			t.Errorf("Timestamp(%q) = %q, want %q", line, got, want)
		}
	}
}

func TestTimestamp_WithoutYear(t *testing.T) {
	for now, want := range map[string]int{"2027-01-01T00:00:05Z": 2026, "2026-12-31T23:59:59Z": 2026, "2026-07-01T00:00:00Z": 2025} {
		at, err := time.Parse(time.RFC3339, now)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := Timestamp([]byte("I1231 23:59:58.000000    77 a.cc:1] x"), at.UnixNano(), time.UTC); !ok || got.Year() != want {
			t.Errorf("at %s: got %v, want year %d", now, got, want)
		}
	}
}

// Timestamp does not panic, and a time that it returns parses to the same time again.
func FuzzTimestamp(f *testing.F) {
	for _, s := range []string{"2026-11-24 12:00:00,123 x", "I1124 12:00:00.5 1 a] x", `{"ts":1795521600.25}`, "[I 2026-11-24 12:00:00", "2026-11-24T12:00:00+23:59"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		at, ok := Timestamp(line, 1e18, time.UTC)
		if !ok {
			return
		}
		text := at.UTC().Format(time.RFC3339Nano)
		again, ok := Timestamp([]byte(text), 1e18, time.UTC)
		if at.Year() >= 1970 && at.Year() <= 9999 && (!ok || !again.Equal(at)) {
			t.Errorf("Timestamp(%q) = %s, which parses to %v", line, text, again)
		}
	})
}

func TestTimestamp_Allocations(t *testing.T) {
	for _, line := range []string{"2026-11-24 12:00:00,123 INFO x", `{"ts":1795521600.25,"msg":"x"}`, "I1124 12:00:00.000001    77 a.cc:1] x", "hello"} {
		text := []byte(line)
		if n := testing.AllocsPerRun(100, func() { Timestamp(text, 1e18, time.UTC) }); n != 0 {
			t.Errorf("Timestamp(%q) allocates %v times, want 0", line, n)
		}
	}
}

func BenchmarkTimestamp(b *testing.B) {
	for name, line := range map[string]string{
		"python": "2026-11-24 12:00:00,123 INFO trainer.py:128 -- epoch 3", "json": `{"level":"info","time":"2026-11-24T12:00:00Z","msg":"epoch 3"}`, "none": "epoch 3 step 128: loss=0.1 and so on",
	} {
		b.Run(name, func(b *testing.B) {
			text := []byte(line)
			for b.Loop() {
				Timestamp(text, 1e18, time.UTC)
			}
		})
	}
}
