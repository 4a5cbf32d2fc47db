package lines

import (
	"bytes"

	"github.com/cespare/xxhash/v2"
)

// Line is one line of a log. Text is valid until the next call of a method of the
// Splitter that returned it.
type Line struct {
	Text   []byte // its first bytes, at most as many as the Splitter keeps
	Size   int64  // its length in bytes
	Seq    uint64 // how many lines of the log are before it
	Blank  int32  // how many empty lines are right before it
	Joined uint16 // how many lines were joined into it; 0: none
	Ends   LineEnds
}

// Truncated reports whether the text is not the whole line.
func (l *Line) Truncated() bool { return l.Size > int64(len(l.Text)) }

// LineEnds are the line ends around a line. They show which lines overwrite others on a
// terminal.
type LineEnds uint8

const (
	EndsCR         LineEnds = 1 << iota // it ends with a \r, which a \n may follow
	AfterCR                             // a \r is right before it
	SameTerminal                        // no \n is between it and the line before: it overwrites that one
	FromFileBefore                      // it begins in the file before, see NextFile
)

// Origin is what a position needs to know about a line in addition to its bytes.
type Origin struct {
	Raw  int64 // raw offset of its first byte, or UnknownOffset
	Hash LineHash
}

// Splitter splits a log's bytes into lines. A line is a maximal run of bytes other than
// \r and \n: the lines do not depend on how the bytes are cut into chunks. Empty lines are
// not lines; they are counted.
//
// Callers pull lines from it. Write sets the next chunk. Next finds the next line without
// consuming it: the position is before that line until Line is called. If Next finds no
// complete line, Keep stores the rest of the chunk as the partial line. Before Line and
// Keep, Need returns by how much the buffer of the partial line is about to grow.
//
//	s.Write(chunk)
//	for {
//		size, ok := s.Next()
//		if !ok {
//			s.Keep()
//			break
//		}
//		line := s.Line()
//	}
//
// It stores at most a given number of bytes of a line and only counts and hashes the
// rest, so that a line of any length needs bounded memory. Make it with NewSplitter or
// Resume. Not safe for concurrent use.
type Splitter struct {
	max     int      // bytes of a line that are stored
	tracker Tracker  // up to the end of the last line
	lines   uint64   // lines so far
	last    LineHash // of the last line
	endRaw  int64    // raw offset right after the last line, or UnknownOffset
	raw     int64    // raw offset of the next byte, or UnknownOffset

	in       input
	next     found
	ends     endState
	partial  partial
	consumed bool // the last line was the partial one: the next call releases its buffer
}

// input is the chunk that Write has set.
type input struct {
	data    []byte
	at      int  // how much of data is consumed
	newline int  // index of the next \n in data; len(data): there is none; less than at: not known yet
	hasCR   bool // the chunk has a \r; most logs have none
}

// found is what Next has found.
type found struct {
	size    int  // bytes before the next line end
	endsCR  bool // that line end is a \r
	flushed bool // Flush was called: no line end follows the partial line
}

// endState is what was read since the last line.
type endState struct {
	blank   int  // empty lines
	cr      bool // the last byte was \r: a \n now belongs to it
	lf      bool // there was a \n
	pending bool // the next line end belongs to a line that was returned already
}

// partial is a line whose end was not read yet.
type partial struct {
	text    []byte // its first bytes, at most Splitter.max
	size    int64  // its length so far
	raw     int64  // where it begins
	afterCR bool   // it begins after a \r
	carried int64  // how many of its bytes are in the file before, see NextFile
	// The rest is set only if it is longer than text.
	hash     xxhash.Digest // of the log, the partial line included
	lineHash xxhash.Digest // of the partial line alone
	tail     []byte        // its last FingerprintSize bytes
}

// NewSplitter returns a Splitter for a log from its first byte on, which stores at most max
// bytes of a line. raw is 0, or UnknownOffset where the transport does not report raw
// offsets.
func NewSplitter(max int, raw int64) *Splitter {
	s := &Splitter{max: max, raw: raw, endRaw: raw}
	s.tracker.Reset()
	return s
}

// Resume returns a Splitter that continues after a verified position.
func Resume(max int, v *Verifier) *Splitter {
	s := &Splitter{max: max, tracker: v.Tracker, lines: v.want.Lines, raw: v.raw, endRaw: v.raw}
	s.tracker.hash, s.tracker.unhashed = v.want.Hash, 0
	s.ends.pending = v.want.Content > 0
	s.last = v.want.Line
	return s
}

// Write sets the next chunk, which must not change until Keep was called. The rest of
// the last chunk is discarded.
func (s *Splitter) Write(chunk []byte) {
	s.in.data, s.in.at = chunk, 0
	s.in.hasCR = bytes.IndexByte(chunk, '\r') >= 0
	s.findNewline()
}

// findNewline sets in.newline.
func (s *Splitter) findNewline() {
	if i := bytes.IndexByte(s.in.data[s.in.at:], '\n'); i >= 0 {
		s.in.newline = s.in.at + i
	} else {
		s.in.newline = len(s.in.data)
	}
}

// consume drops n bytes of the chunk.
func (s *Splitter) consume(n int) {
	s.in.at += n
	if s.raw >= 0 {
		s.raw += int64(n)
	}
}

// Next finds the next line and returns its size in bytes. ok is false if the chunk has no
// further line end: the rest of it is the start of a line.
func (s *Splitter) Next() (size int64, ok bool) {
	if s.consumed {
		s.Drop()
	}
	for s.in.at < len(s.in.data) {
		if s.in.newline < s.in.at {
			s.findNewline()
		}
		end, cr := s.in.newline, false
		if s.in.hasCR {
			if i := bytes.IndexByte(s.in.data[s.in.at:end], '\r'); i >= 0 {
				end, cr = s.in.at+i, true
			}
		}
		s.next.size = end - s.in.at
		if end == len(s.in.data) {
			return 0, false
		}
		if s.next.size > 0 || s.partial.size > 0 {
			s.next.endsCR = cr
			return s.partial.size + int64(s.next.size), true
		}
		s.emptyLine(cr)
	}
	s.next.size = 0
	return 0, false
}

// emptyLine consumes a line end that ends no line.
func (s *Splitter) emptyLine(cr bool) {
	switch {
	case s.ends.cr && !cr:
		s.ends.cr = false // the \n of a \r\n
	case s.ends.pending:
		s.ends.pending, s.ends.cr = false, cr
	default:
		s.ends.blank++
		s.ends.cr = cr
	}
	s.ends.lf = s.ends.lf || !cr
	s.consume(1)
}

// Each writes a chunk, calls do with each line that the chunk completes, and keeps the
// rest. It stops at the first error of do and returns it; the bytes after that line are
// discarded.
func (s *Splitter) Each(chunk []byte, do func(Line) error) error {
	s.Write(chunk)
	for {
		if _, ok := s.Next(); !ok {
			s.Keep()
			return nil
		}
		if err := do(s.Line()); err != nil {
			return err
		}
	}
}

// Flush makes the partial line, if there is one, the next line: the log has ended. If ok,
// Line returns it.
func (s *Splitter) Flush() (size int64, ok bool) {
	if s.consumed {
		s.Drop()
	}
	s.next.size, s.next.endsCR, s.next.flushed = 0, false, s.partial.size > 0
	return s.partial.size, s.partial.size > 0
}

// Need returns by how many bytes the next call of Line or Keep grows the buffer of the
// partial line.
func (s *Splitter) Need() int {
	if s.next.size == 0 || s.partial.size == 0 && s.in.at+s.next.size < len(s.in.data) {
		return 0 // nothing to store, or a whole line in one chunk
	}
	return s.growth()
}

func (s *Splitter) growth() int { return s.grownTo(s.next.size) - cap(s.partial.text) }

// grownTo returns the size of the partial line's buffer with n more bytes.
func (s *Splitter) grownTo(n int) int {
	have := len(s.partial.text)
	need := have + min(n, max(0, s.max-have))
	if need <= cap(s.partial.text) {
		return cap(s.partial.text)
	}
	return min(RoundBuffer(max(need, 2*cap(s.partial.text), 256)), max(s.max, need))
}

// Line consumes the line that Next or Flush found and returns it.
func (s *Splitter) Line() Line {
	if s.partial.size > 0 {
		return s.partialLine()
	}
	// The usual case: a whole line in one chunk, returned without a copy.
	piece := s.in.data[s.in.at : s.in.at+s.next.size]
	s.tracker.Add(piece, s.raw)
	s.last = hashLine(piece)
	if s.raw >= 0 {
		s.endRaw = s.raw + int64(len(piece))
		s.raw = s.endRaw + 1
	}
	s.in.at += len(piece) + 1
	l := Line{Text: piece, Size: int64(len(piece)), Seq: s.lines, Blank: int32(s.ends.blank), Ends: s.lineEnds(s.ends.cr)}
	if len(piece) > s.max {
		l.Text = piece[:s.max]
	}
	s.lines++
	s.ends = endState{cr: s.next.endsCR, lf: !s.next.endsCR}
	return l
}

// partialLine consumes the partial line, with the bytes that Next found or as Flush left it.
func (s *Splitter) partialLine() Line {
	if s.next.flushed {
		s.next.flushed = false
		return s.finish()
	}
	s.keep()
	l := s.finish()
	s.consume(1)
	s.ends.cr, s.ends.lf = s.next.endsCR, !s.next.endsCR
	return l
}

// lineEnds returns the line ends around the next line.
func (s *Splitter) lineEnds(afterCR bool) (e LineEnds) {
	if s.next.endsCR {
		e = EndsCR
	}
	if afterCR {
		e |= AfterCR
	}
	if !s.ends.lf {
		e |= SameTerminal
	}
	return e
}

// Keep stores the rest of the chunk as the partial line.
func (s *Splitter) Keep() {
	if s.next.size > 0 {
		s.keep()
		s.next.size = 0
	}
}

// keep adds the bytes that Next found to the partial line.
func (s *Splitter) keep() {
	piece := s.in.data[s.in.at : s.in.at+s.next.size]
	if len(piece) == 0 {
		return
	}
	p := &s.partial
	if p.size == 0 {
		p.raw, p.afterCR = s.raw, s.ends.cr
	}
	s.ends.cr, s.ends.pending = false, false
	if size := s.grownTo(len(piece)); size > cap(p.text) {
		grown := append(GetBuffer(size), p.text...)
		PutBuffer(p.text)
		p.text = grown
	}
	p.text = append(p.text, piece[:min(len(piece), max(0, s.max-len(p.text)))]...)
	s.hashLong(piece)
	s.consume(len(piece))
}

// hashLong counts a piece of the partial line, and hashes it if the line is longer than
// what is stored.
func (s *Splitter) hashLong(piece []byte) {
	p := &s.partial
	before := p.size
	p.size += int64(len(piece))
	if p.size <= int64(s.max) {
		return
	}
	if before <= int64(s.max) {
		s.tracker.flushHash()
		p.hash = s.tracker.hash
		p.hash.Write(p.text[p.carried:before]) //nolint:errcheck // xxhash never fails
		p.lineHash.Reset()
		p.lineHash.Write(p.text[:before]) //nolint:errcheck // xxhash never fails
		p.tail = append(p.tail[:0], p.text[max(p.carried, before-FingerprintSize):before]...)
	}
	p.hash.Write(piece)     //nolint:errcheck // xxhash never fails
	p.lineHash.Write(piece) //nolint:errcheck // xxhash never fails
	if len(piece) >= FingerprintSize {
		p.tail = append(p.tail[:0], piece[len(piece)-FingerprintSize:]...)
		return
	}
	p.tail = append(p.tail, piece...)
	if n := len(p.tail); n > FingerprintSize {
		p.tail = p.tail[:copy(p.tail, p.tail[n-FingerprintSize:])]
	}
}

// finish returns the partial line as a line.
func (s *Splitter) finish() Line {
	p := &s.partial
	if p.size > int64(s.max) {
		s.tracker.addHashed(p.hash, p.tail, p.size-p.carried, p.raw)
		s.last = LineHash{}
		if p.size > FingerprintSize {
			s.last = LineHash{p.size, p.lineHash.Sum64()}
		}
	} else {
		s.tracker.Add(p.text[p.carried:], p.raw)
		s.last = hashLine(p.text)
	}
	var carried LineEnds
	if p.carried > 0 { // no file has the whole line
		s.last, p.carried, carried = LineHash{}, 0, FromFileBefore
	}
	s.consumed, s.endRaw = true, s.raw
	l := Line{Text: p.text[:min(len(p.text), s.max)], Size: p.size, Seq: s.lines, Blank: int32(s.ends.blank), Ends: s.lineEnds(p.afterCR) | carried}
	s.lines++
	s.ends.blank, s.ends.pending, s.ends.lf = 0, false, false
	return l
}

// Drop discards the partial line and releases its buffer. Its bytes have to be read again
// from the position.
func (s *Splitter) Drop() {
	s.consumed = false
	PutBuffer(s.partial.text)
	s.partial.text, s.partial.size, s.partial.tail, s.partial.carried = nil, 0, nil, 0
}

// Partial returns the size of the partial line in bytes; 0: there is none.
func (s *Splitter) Partial() int64 {
	if s.consumed {
		return 0
	}
	return s.partial.size
}

// Buffered returns the size of the partial line's buffer in bytes.
func (s *Splitter) Buffered() int { return cap(s.partial.text) }

// Lines returns how many lines are before the position.
func (s *Splitter) Lines() uint64 { return s.lines }

// Content returns how many content bytes are before the position.
func (s *Splitter) Content() uint64 { return s.tracker.content }

// Raw returns the raw offset of the next byte, or UnknownOffset.
func (s *Splitter) Raw() int64 { return s.raw }

// AfterNewline reports whether a \n was read since the last line.
func (s *Splitter) AfterNewline() bool { return s.ends.lf }

// Origin returns the origin of l, the line that was returned last.
func (s *Splitter) Origin(l Line) Origin {
	raw := s.endRaw
	if raw >= 0 {
		raw -= l.Size
	}
	return Origin{raw, s.last}
}

// Position returns the position after the last line.
func (s *Splitter) Position() Position {
	p := s.tracker.Position(s.lines, s.endRaw)
	p.Line = s.last
	return p
}

// Track copies its tracker to t, and returns the other parts of the position: the number
// of lines, the raw offset and the hash of the last line.
func (s *Splitter) Track(t *Tracker) (lines uint64, endRaw int64, last LineHash) {
	t.CopyFrom(&s.tracker)
	return s.lines, s.endRaw, s.last
}

func hashLine(line []byte) LineHash {
	if len(line) <= FingerprintSize {
		return LineHash{}
	}
	return LineHash{int64(len(line)), xxhash.Sum64(line)}
}
