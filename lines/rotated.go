package lines

// NextFile makes s continue with the next file of a rotated log: offsets, content and hashes
// count from that file's first byte, lines go on. A partial line is continued there. It is
// called after Keep, and Position is valid again once the next line has ended.
func (s *Splitter) NextFile() {
	if s.consumed {
		s.Drop()
	}
	tail, samples := s.tracker.tail[:0], s.tracker.samples[:0]
	s.tracker.Reset()
	s.tracker.tail, s.tracker.samples = tail, samples
	s.raw, s.endRaw, s.last = 0, 0, LineHash{}
	if p := &s.partial; p.size > 0 {
		p.carried, p.raw = p.size, 0
		p.hash.Reset()
		p.tail = p.tail[:0]
	}
}

// StartFile returns a Splitter for a file of a rotated log from its first byte on, like
// NewSplitter, with a number of lines before it. The line end of the last one may be in this
// file.
func StartFile(max int, raw int64, lines uint64) *Splitter {
	s := NewSplitter(max, raw)
	s.lines, s.ends.pending = lines, lines > 0
	return s
}

// PartialText returns the text of the partial line that is in the current file, nil if not
// all of it is stored. It is valid until the next call of another method.
func (s *Splitter) PartialText() []byte {
	if s.consumed || s.partial.size > int64(len(s.partial.text)) {
		return nil
	}
	return s.partial.text[s.partial.carried:]
}

// Reached returns how many content bytes of the current file were written, those of the
// partial line included.
func (s *Splitter) Reached() uint64 {
	return s.tracker.content + uint64(s.Partial()-s.carried())
}

// carried returns how many bytes of the partial line are in the file before.
func (s *Splitter) carried() int64 {
	if s.consumed {
		return 0
	}
	return s.partial.carried
}

// Whole reports whether the text is the whole line, and the current file has all of it.
func (l *Line) Whole() bool { return !l.Truncated() && l.Ends&FromFileBefore == 0 }
