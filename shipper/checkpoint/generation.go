package checkpoint

import (
	"fmt"
	"strconv"

	"raytap/shipper/rotation"
)

func toGenerationJSON(g Generation) *generationJSON {
	if g == (Generation{}) {
		return nil
	}
	return &generationJSON{
		After: hexOf(uint64(g.After)), Own: hexOf(uint64(g.Own)), Raw: g.Raw, Head: toSumJSON(g.Head), Proof: toSumJSON(g.Proof),
		Before: g.Before, Oldest: g.Oldest,
	}
}

func hexOf(n uint64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatUint(n, 16)
}

func toSumJSON(s rotation.Sum) *sumJSON {
	if s.Size == 0 {
		return nil
	}
	return &sumJSON{s.Size, strconv.FormatUint(s.Hash, 16)}
}

// generation returns the generation that a log's value describes: the zero value for that of
// an older raytap.
func (j *generationJSON) generation() (g Generation, err error) {
	if j == nil {
		return g, nil
	}
	number := func(name, s string) uint64 {
		if s == "" || err != nil {
			return 0
		}
		n, e := strconv.ParseUint(s, 16, 64)
		if e != nil {
			err = fmt.Errorf("generation: %s: %w", name, e)
		}
		return n
	}
	sum := func(name string, s *sumJSON) rotation.Sum {
		if s == nil {
			return rotation.Sum{}
		}
		if s.Size <= 0 || s.Size > rotation.ProofSize {
			err = fmt.Errorf("generation: %s of %d bytes", name, s.Size)
		}
		return rotation.Sum{Size: s.Size, Hash: number(name, s.Hash)}
	}
	g = Generation{Position: rotation.Position{
		After: rotation.Validator(number("after", j.After)), Own: rotation.Validator(number("own", j.Own)), Raw: j.Raw,
		Head: sum("head", j.Head), Proof: sum("proof", j.Proof),
	}, Before: j.Before, Oldest: j.Oldest}
	if err == nil && (g.Raw < 0 || int64(g.Proof.Size) != min(g.Raw, rotation.ProofSize)) {
		err = fmt.Errorf("generation: a proof of %d bytes at byte %d", g.Proof.Size, g.Raw)
	}
	return g, err
}
