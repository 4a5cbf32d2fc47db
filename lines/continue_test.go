package lines

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// A log that is read in several parts, each from the boundary that the last part has left,
// has the same lines as one that is read at once.
func TestContinue(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		log := make([]byte, rnd.IntN(60))
		for i := range log {
			log[i] = "ab\n\r"[rnd.IntN(4)]
		}
		var want, got []Line
		add := func(to *[]Line) func(Line) error {
			return func(l Line) error {
				l.Text, l.Ends = slices.Clone(l.Text), 0
				*to = append(*to, l)
				return nil
			}
		}
		if err := NewSplitter(1000, 0).Each(log, add(&want)); err != nil {
			t.Fatal(err)
		}
		var at Boundary
		for from, to := 0, 0; to < len(log); {
			to = min(len(log), to+1+rnd.IntN(9))
			s := Continue(1000, at)
			for i := from; i < to; { // in chunks
				next := min(to, i+1+rnd.IntN(4))
				if err := s.Each(log[i:next], add(&got)); err != nil {
					t.Fatal(err)
				}
				i = next
			}
			var raw int64
			at, raw = s.Boundary()
			from += int(raw) // the partial line is read again
		}
		if !slices.EqualFunc(want, got, func(a, b Line) bool {
			return string(a.Text) == string(b.Text) && a.Seq == b.Seq && a.Blank == b.Blank && a.Size == b.Size
		}) {
			t.Fatalf("%q: got %+v, want %+v", log, got, want)
		}
	}
}
