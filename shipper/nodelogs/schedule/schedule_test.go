package schedule

import (
	"math/rand/v2"
	"testing"
	"time"
)

type file struct {
	Item
	name int
}

var start = time.Unix(1764000000, 0)

// Items come in the order in which they are due, whatever is added, moved and removed.
func TestQueue_Order(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	q := NewQueue[*file]()
	q.looks.SetLimit(1e9)
	q.all.SetLimit(1e9)
	files := make([]*file, 500)
	for i := range files {
		files[i] = &file{name: i}
	}
	for range 5000 {
		f := files[rnd.IntN(len(files))]
		if rnd.IntN(4) == 0 {
			q.Remove(f)
		} else {
			q.Set(f, start.Add(time.Duration(rnd.IntN(1e6))), rnd.IntN(2) == 0)
		}
	}
	want := 0
	for _, f := range files {
		if f.Queued() {
			want++
		}
	}
	if q.Len() != want {
		t.Fatalf("%d items, want %d", q.Len(), want)
	}
	last, urgent, now := int64(0), true, start
	for range want {
		now = now.Add(time.Second)
		f, _, ok := q.Next(now)
		if !ok || f.Queued() {
			t.Fatal("an item is missing, or still queued")
		}
		if f.urgent != urgent {
			if f.urgent {
				t.Fatal("an urgent item came after another one")
			}
			urgent, last = false, 0
		}
		if f.due < last {
			t.Fatalf("due at %d after %d", f.due, last)
		}
		last = f.due
	}
	if _, wait, ok := q.Next(now); ok || wait >= 0 {
		t.Error("an empty queue has a next item")
	}
}

// The budget is ten looks per second, and fifty with the urgent ones.
func TestQueue_Budget(t *testing.T) {
	for _, tt := range []struct {
		urgent   bool
		patient  int
		low, top int
	}{{false, 3000, 95, 105}, {true, 3000, 495, 505}} {
		q := NewQueue[*file]()
		for i := range 3000 {
			q.Set(&file{name: i}, start, false)
			if tt.urgent {
				q.Set(&file{name: i}, start, true)
			}
		}
		n, now := 0, start
		for now.Before(start.Add(10 * time.Second)) {
			if _, wait, ok := q.Next(now); !ok {
				now = now.Add(max(wait, time.Millisecond))
				continue
			}
			n++
		}
		if n < tt.low || n > tt.top {
			t.Errorf("urgent %t: %d looks in 10 s", tt.urgent, n)
		}
	}
}

func TestQueue_NotDue(t *testing.T) {
	q := NewQueue[*file]()
	q.Set(&file{}, start.Add(time.Minute), false)
	q.Set(&file{}, start.Add(time.Hour), true)
	if _, wait, ok := q.Next(start); ok || wait != time.Minute {
		t.Errorf("got %t, a wait of %s", ok, wait)
	}
}

// A still log is looked at after a second, then twice as late each time, up to a minute.
func TestPace_Still(t *testing.T) {
	var p Pace
	now, total := start, 0
	for now.Before(start.Add(10 * time.Minute)) {
		p.Looked(now, 0, false)
		pause, urgent := p.Next(1, 0, 1)
		if urgent {
			t.Fatal("a log that does not rotate is urgent")
		}
		now, total = now.Add(pause), total+1
	}
	if total < 14 || total > 17 {
		t.Errorf("%d looks in 10 minutes", total)
	}
	p.Looked(now, 1, true)
	if pause, _ := p.Next(1, 0, 1); pause != MinPause {
		t.Errorf("a pause of %s after a new line", pause)
	}
}

// Many still logs get four looks a second together.
func TestPace_ManyFiles(t *testing.T) {
	var p Pace
	for i := range 30 {
		p.Looked(start.Add(time.Duration(i)*time.Hour), 0, false)
	}
	if pause, _ := p.Next(1, 0, 400); pause != 100*time.Second { // 200 workers
		t.Errorf("got %s", pause)
	}
	if pause, _ := p.Next(1, 0, 4000); pause != 1000*time.Second {
		t.Errorf("got %s", pause)
	}
}

// A log that rotates is looked at before more than half of what is kept is written.
func TestPace_Rotating(t *testing.T) {
	for _, tt := range []struct {
		rate, size int64 // bytes per second, of a generation
		kept       int
	}{{100_000, 100_000, 1}, {1_000_000, 100_000, 5}, {10_000, 100_000, 5}, {100, 1 << 29, 5}} {
		var p Pace
		p.Rotated(tt.size)
		now := start
		p.Looked(now, 1, true)
		for range 50 {
			pause, urgent := p.Next(tt.kept, 0, 10)
			written := int64(pause.Seconds() * float64(tt.rate))
			if now != start && pause > minUrgentPause && written > tt.size*int64(tt.kept)/2+1 {
				t.Fatalf("%+v: %d bytes are written in %s", tt, written, pause)
			}
			if now != start && (tt.size < 1<<20) != urgent {
				t.Fatalf("%+v: urgent is %t", tt, urgent)
			}
			now = now.Add(pause)
			p.Looked(now, written, written > 0)
		}
	}
}
