package rotation

import (
	"flag"
	"math/rand/v2"
	"strings"
	"testing"
)

var (
	rounds = flag.Int("rounds", 2000, "rounds of the test of random rotations")
	seed   = flag.Uint64("seed", 1, "their seed")
)

// TestRandomRotationsLoseNothing is FuzzReader's law over random programs.
func TestRandomRotationsLoseNothing(t *testing.T) {
	rng := rand.New(rand.NewPCG(*seed, 2))
	bad, lost := 0, 0
	for i := range *rounds {
		program := make([]byte, 20+rng.IntN(300))
		for j := range program {
			program[j] = byte(rng.IntN(256))
		}
		kind := byte(rng.IntN(256))
		f, err := run(styleOf(kind), program)
		lost += f.lost
		if err != nil {
			bad++
			if bad < 3 {
				h := f.m.history
				t.Errorf("round %d, %+v: %v\n%s", i, styleOf(kind), err, strings.Join(h[max(0, len(h)-70):], "\n"))
			}
		}
	}
	t.Logf("%d rounds, %d bad, %d losses announced", *rounds, bad, lost)
	if bad > 0 {
		t.Errorf("%d of %d rounds are wrong", bad, *rounds)
	}
}
