package lines

// Boundary is a place in a log between two lines, as far as a Splitter has to know it to
// continue there. The zero value is the start of a log.
type Boundary struct {
	Lines   uint64 // lines before it: the seq of the next one
	Blank   int    // empty lines right before it
	AfterCR bool   // a \r is right before it: a \n behind it belongs to that line end
}

// Continue returns a Splitter that continues at a boundary, and stores at most max bytes of
// a line. Its raw offsets count from the boundary. It knows nothing of the content before:
// its Position is no position in the log.
func Continue(max int, at Boundary) *Splitter {
	s := &Splitter{max: max, lines: at.Lines, ends: endState{blank: at.Blank, cr: at.AfterCR, lf: !at.AfterCR}}
	s.tracker.Reset()
	return s
}

// Boundary returns the boundary before the partial line, or before the next byte if there
// is none, and its raw offset. Call it after Line or Keep.
func (s *Splitter) Boundary() (at Boundary, raw int64) {
	at = Boundary{Lines: s.lines, Blank: s.ends.blank, AfterCR: s.ends.cr}
	if s.Partial() == 0 {
		return at, s.raw
	}
	at.AfterCR = s.partial.afterCR
	return at, s.partial.raw
}
