package slots

import (
	"maps"
	"testing"
	"testing/synctest"
	"time"
)

// held records what changed was last called with.
type held struct{ jobs map[string]int }

func (h *held) set(jobs map[string]int) { h.jobs = jobs }

func (h *held) check(t *testing.T, s *Slots, want map[string]int) {
	t.Helper()
	n := 0
	for _, of := range want {
		n += of
	}
	if !maps.Equal(h.jobs, want) || s.Count() != n {
		t.Errorf("%d slots in use, held by %v; want %d by %v", s.Count(), h.jobs, n, want)
	}
}

func TestSlots_AcquireAndRefuse(t *testing.T) {
	var h held
	s := New(2, nil, h.set)
	if !s.Available() || !s.Acquire("a") || !s.Acquire("b") {
		t.Fatal("no slot was free")
	}
	if s.Available() || s.Acquire("a") {
		t.Error("a third slot of 2 was free")
	}
	h.check(t, s, map[string]int{"a": 1, "b": 1})
	s.Refuse("a")
	h.check(t, s, map[string]int{"b": 1})
	if !s.Acquire("a") {
		t.Error("the refused slot is not free")
	}
}

// A closed stream counts until Ray has noticed that it is closed.
func TestSlots_Closed(t *testing.T) {
	for name, tt := range map[string]struct {
		then    func(s *Slots)
		after   time.Duration
		want    int
		abandon bool
	}{
		"nothing printed":           {func(*Slots) {}, time.Hour, 1, true},
		"printed a moment ago":      {func(s *Slots) { s.Printed("job") }, releaseDelay - 1, 1, true},
		"printed":                   {func(s *Slots) { s.Printed("job") }, releaseDelay, 0, false},
		"printed again":             {func(s *Slots) { s.Printed("job"); time.Sleep(releaseDelay / 2); s.Printed("job") }, releaseDelay / 2, 0, false},
		"another job printed":       {func(s *Slots) { s.Printed("other") }, time.Hour, 1, true},
		"ended":                     {func(s *Slots) { s.Ended("job") }, 0, 0, false},
		"printed, and then ended":   {func(s *Slots) { s.Printed("job"); s.Ended("job") }, releaseDelay, 0, false},
		"another job ended":         {func(s *Slots) { s.Ended("other") }, 0, 1, true},
		"runs, as the list shows":   {func(s *Slots) { s.Retain(func(string) bool { return true }) }, 0, 1, true},
		"is missing from the list":  {func(s *Slots) { s.Retain(func(string) bool { return false }) }, 0, 0, false},
		"printed before the close":  {func(s *Slots) { s.Acquire("job"); s.Printed("job"); s.Closed("job", false) }, releaseDelay, 1, true},
		"closed when the job ended": {func(s *Slots) { s.Acquire("job"); s.Closed("job", true) }, 0, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := New(10, nil, func(map[string]int) {})
				s.Acquire("job")
				s.Closed("job", false)
				tt.then(s)
				time.Sleep(tt.after)
				synctest.Wait()
				if s.Count() != tt.want || s.Abandoned("job") != tt.abandon {
					t.Errorf("%d slots in use, abandoned: %v; want %d, %v", s.Count(), s.Abandoned("job"), tt.want, tt.abandon)
				}
			})
		})
	}
}

// Open streams stay when the job's closed ones are released.
func TestSlots_OpenStays(t *testing.T) {
	var h held
	s := New(10, nil, h.set)
	s.Acquire("job")
	s.Acquire("job")
	s.Closed("job", false)
	s.Retain(func(string) bool { return false })
	h.check(t, s, map[string]int{"job": 2})
	s.Ended("job")
	h.check(t, s, map[string]int{"job": 1})
}

// Slots that an earlier process held count as closed streams.
func TestSlots_HeldByEarlierProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h held
		s := New(3, map[string]int{"a": 2, "b": 1}, h.set)
		if s.Available() || !s.Abandoned("a") {
			t.Errorf("%d slots in use, abandoned: %v; want 3, true", s.Count(), s.Abandoned("a"))
		}
		s.Printed("a")
		time.Sleep(releaseDelay)
		synctest.Wait()
		h.check(t, s, map[string]int{"b": 1})
	})
}
