package checkpoint

import (
	"fmt"
	"strconv"

	"raytap/lines"
	"raytap/shipper/rotation"
)

func toDriverFileJSON(g Generation) *driverFileJSON {
	if g == (Generation{}) {
		return nil
	}
	return &driverFileJSON{
		generationJSON{hexOf(uint64(g.After)), hexOf(uint64(g.Own)), g.Raw, toSumJSON(g.Head), toSumJSON(g.Proof)}, g.Before, g.Oldest,
	}
}

// generation returns the generation that a log's value describes: the zero value for that of
// an older raytap.
func (j *driverFileJSON) generation() (g Generation, err error) {
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
	sum := func(name string, s sumJSON) rotation.Sum {
		if s.Length < 0 || s.Length > rotation.ProofSize {
			err = fmt.Errorf("generation: %s of %d bytes", name, s.Length)
		}
		return rotation.Sum{Size: s.Length, Hash: number(name, s.Hash)}
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

// FileProgress is where a read is in the files of a rotated log. The zero value is that of a
// read that does not know files.
type FileProgress struct {
	Left  uint64              // content bytes of the files that were left since the position
	marks []rotation.Position // of the current file, in order
	Head  rotation.Sum        // the current file's beginning
}

// NextFile leaves the current file, of which a number of content bytes were read.
func (f *FileProgress) NextFile(content uint64) {
	f.Left += content
	f.marks, f.Head = f.marks[:0], rotation.Sum{}
}

// maxMarks is how many places of a file are kept while no line ends.
const maxMarks = 64

// Mark notes a position of the current file, which a line's position is not before.
func (f *FileProgress) Mark(at rotation.Position) {
	if n := len(f.marks); n == maxMarks {
		f.marks = append(f.marks[:n/2], f.marks[n-1])
	}
	f.marks = append(f.marks, at)
}

// Generation returns the generation of a position, which is in the current file. last is
// that of the position before.
func (f *FileProgress) Generation(pos lines.Position, last Generation) Generation {
	last.Before += f.Left
	i := len(f.marks) - 1
	for i > 0 && f.marks[i].Raw > pos.Tail.Start {
		i--
	}
	if i < 0 || f.Left == 0 && f.marks[i].Raw > pos.Tail.Start {
		return last // the one of last is still before it
	}
	f.marks = append(f.marks[:0], f.marks[i:]...)
	last.Position, last.Oldest = f.marks[0], false
	if f.Head.Size > last.Head.Size {
		last.Head = f.Head
	}
	return last
}
