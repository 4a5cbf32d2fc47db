// Package slots counts the streams that count against the limit of a Ray session.
package slots

import (
	"sync"
	"time"
)

// releaseDelay is how long Ray may keep the slot of a closed stream after the next output
// of its job (about 10 s on Ray 2.60.0).
const releaseDelay = 15 * time.Second

// Slots counts the streams (WebSockets; with a Synapse agent SSE connections, too) that a
// Ray session holds for raytap. Ray serves 100 to all its clients together, and its Jobs
// API hangs beyond that. Ray keeps the slot of a closed stream until the job prints again,
// or ends. So a closed stream counts until that was seen. Slots is safe for concurrent use.
type Slots struct {
	mu      sync.Mutex
	max     int
	jobs    map[string]*jobSlots
	inUse   int
	changed func(held map[string]int) // called with mu locked
}

// jobSlots are the slots of one job.
type jobSlots struct {
	open   int
	closed int         // streams that raytap closed and Ray may still hold
	timer  *time.Timer // runs from the first output after a close
}

// New returns slots of which at most max can be in use. held are those that an earlier
// process left, by job. changed is called with the slots of all jobs after each change; it
// must not use the Slots.
func New(max int, held map[string]int, changed func(map[string]int)) *Slots {
	s := &Slots{max: max, jobs: map[string]*jobSlots{}, changed: changed}
	for job, n := range held {
		s.jobs[job] = &jobSlots{closed: n}
		s.inUse += n
	}
	return s
}

// Acquire takes a slot for a stream of the job, before it is opened. It returns false if
// none is free. The caller ends it with Refuse or Closed.
func (s *Slots) Acquire(job string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inUse >= s.max {
		return false
	}
	j := s.jobs[job]
	if j == nil {
		j = &jobSlots{}
		s.jobs[job] = j
	}
	j.open++
	s.add(1)
	return true
}

// Available reports whether a slot is free.
func (s *Slots) Available() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inUse < s.max
}

// Abandoned reports whether Ray may hold slots for closed streams of the job.
func (s *Slots) Abandoned(job string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.jobs[job]
	return j != nil && j.closed > 0
}

// Refuse releases a slot whose stream Ray refused to open.
func (s *Slots) Refuse(job string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.jobs[job].open--
	s.remove(job)
	s.add(-1)
}

// Closed records that the stream of a slot is closed. The slot stays in use until Printed
// or Ended; if the job is over, it is released at once.
func (s *Slots) Closed(job string, over bool) {
	s.mu.Lock()
	j := s.jobs[job]
	j.open--
	j.closed++
	s.mu.Unlock()
	if over {
		s.Ended(job)
	}
}

// Printed records that the job has printed something new, so that Ray notices which of its
// streams are closed: their slots are released after releaseDelay.
func (s *Slots) Printed(job string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.jobs[job]
	if j == nil || j.closed == 0 || j.timer != nil {
		return
	}
	n := j.closed
	j.timer = time.AfterFunc(releaseDelay, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.jobs[job] != j {
			return // ended meanwhile
		}
		j.timer = nil
		j.closed -= n
		s.remove(job)
		s.add(-n)
	})
}

// Ended records that the job is over: Ray releases all its closed streams.
func (s *Slots) Ended(job string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.jobs[job]
	if j == nil {
		return
	}
	if j.timer != nil {
		j.timer.Stop()
	}
	n := j.closed
	s.jobs[job] = &jobSlots{open: j.open}
	s.remove(job)
	s.add(-n)
}

// add changes the number of slots in use, and reports what each job holds. The caller holds
// s.mu.
func (s *Slots) add(n int) {
	if n == 0 {
		return
	}
	s.inUse += n
	held := make(map[string]int, len(s.jobs))
	for job, j := range s.jobs {
		if n := j.open + j.closed; n > 0 {
			held[job] = n
		}
	}
	s.changed(held)
}

// Retain releases the closed slots of jobs that have no open stream and do not run.
func (s *Slots) Retain(running func(job string) bool) {
	s.mu.Lock()
	var over []string
	for job, j := range s.jobs {
		if j.open == 0 && !running(job) {
			over = append(over, job)
		}
	}
	s.mu.Unlock()
	for _, job := range over {
		s.Ended(job)
	}
}

// remove removes a job without slots. The caller holds s.mu.
func (s *Slots) remove(job string) {
	if j := s.jobs[job]; j.open == 0 && j.closed == 0 && j.timer == nil {
		delete(s.jobs, job)
	}
}

// Count returns the number of slots in use.
func (s *Slots) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inUse
}
