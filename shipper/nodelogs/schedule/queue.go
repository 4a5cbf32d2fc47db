// Package schedule decides when each file of a log directory is looked at, within a budget
// of looks per second. It is pure: it reads no clock and starts nothing.
package schedule

import (
	"time"

	"golang.org/x/time/rate"
)

// The budget of one directory. A look that finds nothing new costs a node agent about
// 0.6 ms of CPU (Ray 2.60.0): ten per second are under 1 % of a core.
const (
	// Looks is how many looks per second there are at most at logs that lose nothing by
	// waiting.
	Looks = 10
	// UrgentLooks is the same for all logs, those included that are about to lose lines by
	// rotation.
	UrgentLooks = 50
	burst       = 4
	// drainLooks is the same for a node that is being deleted, whose agent has nothing else
	// to do for long.
	drainLooks = 500
)

// Item is an entry of a Queue. Embed it; the zero value is in no queue.
type Item struct {
	due    int64 // Unix nanoseconds
	place  int32 // in its heap, plus 1; 0: in none
	urgent bool
}

// Queued reports whether the item is in a queue.
func (i *Item) Queued() bool { return i.place > 0 }

// Due returns when the next look is due (Unix nanoseconds).
func (i *Item) Due() int64 { return i.due }

// item makes a type that embeds Item an entry of a queue.
func (i *Item) item() *Item { return i }

// Queued is what a Queue holds: a pointer to a struct that embeds Item.
type Queued interface {
	comparable
	item() *Item
}

// Queue holds the files of one directory in the order in which looks are due. It is not
// safe for concurrent use. Make it with NewQueue.
type Queue[T Queued] struct {
	patient, urgent dueHeap[T]
	looks, all      *rate.Limiter
}

// NewQueue returns an empty queue with a full budget.
func NewQueue[T Queued]() *Queue[T] {
	return &Queue[T]{looks: rate.NewLimiter(Looks, burst), all: rate.NewLimiter(UrgentLooks, burst)}
}

// Drain makes the budget that of a node which is being deleted.
func (q *Queue[T]) Drain(now time.Time) {
	q.all.SetLimitAt(now, drainLooks)
	q.all.SetBurstAt(now, drainLooks/10)
}

// Len returns the number of items.
func (q *Queue[T]) Len() int { return len(q.patient) + len(q.urgent) }

// Set adds an item, or moves it. An urgent one loses lines if its look is much later than
// due.
func (q *Queue[T]) Set(x T, due time.Time, urgent bool) {
	q.Remove(x)
	i := x.item()
	i.due, i.urgent = due.UnixNano(), urgent
	q.heap(urgent).push(x)
}

// Remove removes an item, if it is in the queue.
func (q *Queue[T]) Remove(x T) {
	if i := x.item(); i.place > 0 {
		q.heap(i.urgent).remove(int(i.place) - 1)
	}
}

func (q *Queue[T]) heap(urgent bool) *dueHeap[T] {
	if urgent {
		return &q.urgent
	}
	return &q.patient
}

// Next removes and returns an item whose look is due and fits the budget: urgent ones
// first, and of these the one that was due first. If there is none, ok is false, and wait is
// the time after which there may be one; negative if the queue is empty.
func (q *Queue[T]) Next(now time.Time) (x T, wait time.Duration, ok bool) {
	wait = -1
	for _, h := range []*dueHeap[T]{&q.urgent, &q.patient} {
		if len(*h) == 0 {
			continue
		}
		until := time.Unix(0, (*h)[0].item().due).Sub(now)
		if until <= 0 {
			if until = q.reserve(now, h == &q.urgent); until <= 0 {
				return h.remove(0), 0, true
			}
		}
		if wait < 0 || until < wait {
			wait = until
		}
	}
	return x, wait, false
}

// reserve takes one look from the budget, and returns 0; or the time until there is one.
func (q *Queue[T]) reserve(now time.Time, urgent bool) time.Duration {
	all := q.all.ReserveN(now, 1)
	if wait := all.DelayFrom(now); wait > 0 {
		all.CancelAt(now)
		return wait
	}
	looks := q.looks.ReserveN(now, 1)
	if wait := looks.DelayFrom(now); wait > 0 && !urgent {
		looks.CancelAt(now)
		all.CancelAt(now)
		return wait
	} else if wait > 0 {
		looks.CancelAt(now) // beyond that budget, which is for others
	}
	return 0
}

// dueHeap is a heap ordered by due time.
type dueHeap[T Queued] []T

func (h *dueHeap[T]) push(x T) {
	*h = append(*h, x)
	x.item().place = int32(len(*h))
	h.up(len(*h) - 1)
}

func (h *dueHeap[T]) remove(i int) T {
	x, last := (*h)[i], len(*h)-1
	h.swap(i, last)
	var none T
	(*h)[last] = none
	*h = (*h)[:last]
	x.item().place = 0
	if i < last {
		h.up(i)
		h.down(i)
	}
	return x
}

func (h *dueHeap[T]) swap(i, j int) {
	s := *h
	s[i], s[j] = s[j], s[i]
	s[i].item().place, s[j].item().place = int32(i+1), int32(j+1)
}

func (h *dueHeap[T]) less(i, j int) bool { return (*h)[i].item().due < (*h)[j].item().due }

func (h *dueHeap[T]) up(i int) {
	for i > 0 && h.less(i, (i-1)/2) {
		h.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
}

func (h *dueHeap[T]) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(*h) {
			return
		}
		if child+1 < len(*h) && h.less(child+1, child) {
			child++
		}
		if !h.less(child, i) {
			return
		}
		h.swap(i, child)
		i = child
	}
}
