package collector

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func FuzzLabel(f *testing.F) {
	for _, s := range []string{"", "train", "a\xffb", strings.Repeat("é", 200), "x" + strings.Repeat("世", 100), strings.Repeat("\xf0\x9f", 200)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := label(s)
		if len(got) > maxLabel || !utf8.ValidString(got) {
			t.Errorf("%d bytes, valid %t", len(got), utf8.ValidString(got))
		}
		valid := strings.ToValidUTF8(s, "\uFFFD")
		if !strings.HasPrefix(valid, got) {
			t.Errorf("%q is not the beginning of %q", got, valid)
		}
		if len(valid) > maxLabel && len(got) <= maxLabel-utf8.UTFMax {
			t.Errorf("truncated too much: %d bytes", len(got))
		}
	})
}

func TestCountStates_UnknownStates(t *testing.T) {
	counts := map[string]int{"A": 1}
	for c := 'a'; c < 'a'+20; c++ {
		counts[string(c)] = 2
	}
	got := map[string]float64{}
	countStates([]string{"A", "B"}, counts, func(v float64, state string) { got[state] = v })
	if len(got) != 2+maxUnknownStates+1 || got["A"] != 1 || got["B"] != 0 || got[otherState] != 8 {
		t.Errorf("got %v", got)
	}
}

func TestUnix_Milliseconds(t *testing.T) {
	for _, ms := range []int64{1795531816031, 1795531901946, 1795531932617} {
		got, ok := unix(time.UnixMilli(ms))
		if !ok || got != float64(ms)/1000 {
			t.Errorf("%d ms: %v, %t", ms, got, ok)
		}
	}
	if _, ok := unix(time.Time{}); ok {
		t.Error("the zero time is shown")
	}
}
