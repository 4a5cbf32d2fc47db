package clock

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A step of the wall clock changes no duration, because the monotonic reading is kept.
func TestMoment(t *testing.T) {
	var m Moment
	if m.IsSet() || !m.Get().IsZero() {
		t.Error("the zero value is set")
	}
	now := time.Now()
	m.SetFirst(now)
	m.SetFirst(now.Add(time.Hour))
	if !strings.Contains(m.Get().String(), " m=+") || !m.Get().Equal(now) {
		t.Errorf("got %s, want %s with its monotonic reading", m.Get(), now)
	}
	if m.Clear(); m.IsSet() {
		t.Error("it is set after Clear")
	}
}

func TestAbsence_Lasts(t *testing.T) {
	start := time.Unix(1764000000, 0)
	for name, tt := range map[string]struct {
		missed []time.Duration // when responses lacked it
		at     time.Duration
		want   bool
	}{
		"not missing":                         {nil, time.Hour, false},
		"long enough, but too few responses":  {[]time.Duration{0, time.Hour}, time.Hour, false},
		"enough responses, but not for long":  {[]time.Duration{0, 1, 2, 3, 4}, time.Minute - 1, false},
		"enough responses, and for long":      {[]time.Duration{0, 1, 2}, time.Minute, true},
		"measured from the first such answer": {[]time.Duration{30, 40, 50}, time.Minute + 29, false},
	} {
		t.Run(name, func(t *testing.T) {
			var a Absence
			for _, at := range tt.missed {
				a.Missed(start.Add(at))
			}
			if got := a.Lasts(start.Add(tt.at), time.Minute); got != tt.want {
				t.Errorf("Lasts is %v, want %v", got, tt.want)
			}
		})
	}
}

// A response that has it starts the count again.
func TestSharedAbsence_Over(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a SharedAbsence
		for range 2 {
			for i := range absentAnswers {
				if got := a.Lasts(2 * time.Second); got != (i == absentAnswers-1) {
					t.Errorf("response %d: Lasts is %v", i+1, got)
				}
				time.Sleep(time.Second)
			}
			a.Over()
		}
	})
}

// A time in which the process did not run counts only as long as a step is expected to be.
func TestAwakeTime_Step(t *testing.T) {
	start := time.Unix(1764000000, 0)
	var a AwakeTime
	for _, at := range []time.Duration{0, time.Second, time.Hour, time.Hour - time.Minute, time.Hour} {
		a.Step(start.Add(at), 10*time.Second)
	}
	if want := 21 * time.Second; a.Sum != want || a.Steps != 5 { // 1 s, 10 s of an hour, none of a step back, 10 s
		t.Errorf("%v in %d steps, want %v in 5", a.Sum, a.Steps, want)
	}
}
