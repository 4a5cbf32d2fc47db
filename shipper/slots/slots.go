package slots

import (
	"sync"
	"time"
)

// slotLinger is how long Ray may keep the slot of a closed tail after the next
// output of its job (about 10 s on Ray 2.60.0).
const releaseDelay = 15 * time.Second

// slots counts the WebSocket tails that a Ray session holds for us. Ray serves
// 100 to all its clients together, and wedges its Jobs API beyond that; and it
// keeps the slot of a tail that was closed until the job prints again, or ends.
// So a closed tail counts until that was seen. It is safe for concurrent use.
type Slots struct {
	mu    sync.Mutex
	max   int
	jobs  map[string]*slotJob
	inUse int
	// changed takes what is held by each job; it is called under the lock.
	changed func(map[string]int)
}

type slotJob struct {
	open   int
	closed int         // closed by us, perhaps still held by Ray
	timer  *time.Timer // runs from the first output after a close
}

// newSlots starts with the slots that a process before this one has left held.
func New(max int, held map[string]int, changed func(map[string]int)) *Slots {
	s := &Slots{max: max, jobs: map[string]*slotJob{}, changed: changed}
	for job, n := range held {
		s.jobs[job] = &slotJob{closed: n}
		s.inUse += n
	}
	return s
}

// take takes a slot for a tail of the job, before it is dialled. False: none is
// free.
func (s *Slots) Acquire(job string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inUse >= s.max {
		return false
	}
	j := s.jobs[job]
	if j == nil {
		j = &slotJob{}
		s.jobs[job] = j
	}
	j.open++
	s.add(1)
	return true
}

// free reports whether a slot can be had.
func (s *Slots) Available() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inUse < s.max
}

// abandoned reports whether Ray may hold slots for closed tails of the job.
func (s *Slots) Abandoned(job string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.jobs[job]
	return j != nil && j.closed > 0
}

// refuse gives a slot back whose tail Ray refused to open.
func (s *Slots) Refuse(job string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.jobs[job].open--
	s.forget(job)
	s.add(-1)
}

// closed tells that the tail of a slot is closed: it counts on, unless the job
// is over.
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

// printed tells that the job has printed something new, so that Ray notices
// which of its tails are closed.
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
		s.forget(job)
		s.add(-n)
	})
}

// ended tells that the job is over: Ray lets all its closed tails go.
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
	s.jobs[job] = &slotJob{open: j.open}
	s.forget(job)
	s.add(-n)
}

// add counts, and tells what is held by whom.
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

// retain gives the slots back of those jobs that are over, or unknown to Ray.
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

func (s *Slots) forget(job string) {
	if j := s.jobs[job]; j.open == 0 && j.closed == 0 && j.timer == nil {
		delete(s.jobs, job)
	}
}

// count gives the number of slots held.
func (s *Slots) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inUse
}
