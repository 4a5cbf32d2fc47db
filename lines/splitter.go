package lines

import (
	"bytes"

	"github.com/cespare/xxhash/v2"
)

// Line is one line of a log. Text is valid until the next call of a method of the
// Splitter that returned it.
type Line struct {
	Text   []byte // the first bytes of it, as many as the Splitter keeps
	Size   int64  // its length
	Seq    uint64
	Blank  int32  // how many empty lines are before it
	Joined uint16 // how many lines it is made of, where several were joined; else 0
	Ends   LineEnds
}

// Truncated reports whether the text is not the whole line.
func (l *Line) Truncated() bool { return l.Size > int64(len(l.Text)) }

// LineEnds are the line ends around a line: they distinguish lines that are
// overwritten by others.
type LineEnds uint8

const (
	EndsCR       LineEnds = 1 << iota // it ends with a \r; a \n may belong to that
	AfterCR                           // a \r is right before it
	SameTerminal                      // no \n is between it and the line before: it overwrites that one on a terminal
)

// Origin is what a position needs of a line besides its bytes.
type Origin struct {
	Raw  int64 // raw offset of its first byte, or UnknownOffset
	Hash LineHash
}

// Splitter makes lines of a log's bytes. A line is a maximal run of bytes other than
// \r and \n: however the same bytes are cut into chunks, the same lines come out.
// Empty lines are no lines; they are counted.
//
// It is pulled. Write takes a chunk. Next looks for the next line, and consumes
// nothing of it: until Line does, the position is before that line. Where Next finds
// no more complete line, Keep keeps the rest of the chunk as the start of a line.
// Before Line and Keep the caller may ask with Need how much the kept part of a line
// is about to grow.
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
// It keeps at most a given number of bytes of a line, and goes on counting and
// hashing the rest, so that a line of any length costs bounded memory. Not safe for
// concurrent use.
type Splitter struct {
	max     int
	tracker Tracker // up to the end of the last line
	lines   uint64  // lines so far
	endRaw  int64   // raw offset right after the last line, or UnknownOffset
	raw     int64   // raw offset of the next byte, or UnknownOffset

	chunk   []byte // what Write took and is not consumed yet
	newline int    // index of the next \n in chunk; len(chunk) where there is none
	hasCR   bool   // the chunk may hold a \r; most logs have none
	size    int    // of the piece in front of the next line end, as Next found it
	endsCR  bool   // that line end is a \r
	flushed bool   // Next was told that the log has ended: no line end follows the partial line

	partial  partial
	consumed bool // the last line was a partial one, whose buffer is released with the next call

	last  LineHash // of the last line
	blank int      // empty lines since the last line
	cr    bool     // the last byte was \r: a \n now belongs to it
	lf    bool     // a \n came since the last line
	// pendingEnd: the next line end ends a line that was returned already.
	pendingEnd bool
}

// partial is a line that has begun and not ended.
type partial struct {
	text    []byte // its first bytes, at most Splitter.max
	size    int64  // its whole length
	raw     int64  // where it begins
	afterCR bool   // it begins after a \r
	// What is known of one that is longer than text.
	hash     xxhash.Digest // the log's, with the partial line
	lineHash xxhash.Digest // of the partial line alone
	tail     []byte        // its last FingerprintSize bytes
}

// NewSplitter returns a Splitter that starts at the start of a log and keeps max bytes
// of a line. raw is 0, or UnknownOffset where the transport does not report raw
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
	s.pendingEnd = v.want.Content > 0
	s.last = v.want.Line
	return s
}

// Write takes the next chunk, which must not change until Keep was called. What was
// left of the last chunk is forgotten.
func (s *Splitter) Write(chunk []byte) {
	s.chunk = chunk
	s.hasCR = bytes.IndexByte(chunk, '\r') >= 0
	s.findNewline()
}

func (s *Splitter) findNewline() {
	if s.newline = bytes.IndexByte(s.chunk, '\n'); s.newline < 0 {
		s.newline = len(s.chunk)
	}
}

// consume drops n bytes of the chunk.
func (s *Splitter) consume(n int) {
	s.chunk = s.chunk[n:]
	if s.raw >= 0 {
		s.raw += int64(n)
	}
	if s.newline -= n; s.newline < 0 {
		s.findNewline()
	}
}

// Next looks for the next line and returns its size in bytes. ok is false where the
// chunk has no further line end: what is left of it is the start of a line.
func (s *Splitter) Next() (size int64, ok bool) {
	s.releaseConsumed()
	for len(s.chunk) > 0 {
		end, cr := s.newline, false
		if s.hasCR {
			if i := bytes.IndexByte(s.chunk[:end], '\r'); i >= 0 {
				end, cr = i, true
			}
		}
		s.size = end
		if end == len(s.chunk) {
			return 0, false
		}
		if end > 0 || s.partial.size > 0 {
			s.endsCR = cr
			return s.partial.size + int64(end), true
		}
		s.emptyLine(cr)
	}
	s.size = 0
	return 0, false
}

// emptyLine consumes a line end that ends no line.
func (s *Splitter) emptyLine(cr bool) {
	switch {
	case s.cr && !cr:
		s.cr = false // the \n of a \r\n
	case s.pendingEnd:
		s.pendingEnd, s.cr = false, cr
	default:
		s.blank++
		s.cr = cr
	}
	s.lf = s.lf || !cr
	s.consume(1)
}

// Each writes a chunk, calls do with each line that it completes, and keeps the rest. It
// stops at the first error of do and returns it; what is after that line is forgotten.
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

// Flush makes the partial line, if there is one, the next line: its run has ended.
// Where ok, Line returns it.
func (s *Splitter) Flush() (size int64, ok bool) {
	s.releaseConsumed()
	s.size, s.endsCR, s.flushed = 0, false, true
	return s.partial.size, s.partial.size > 0
}

// Need returns by how many bytes the buffer of the partial line grows with the next
// call of Line or Keep; 0: it does not.
func (s *Splitter) Need() int {
	if s.size == 0 || s.partial.size == 0 && s.size < len(s.chunk) {
		return 0 // nothing to keep, or a whole line in one chunk
	}
	return s.grownTo(s.size) - cap(s.partial.text)
}

// grownTo returns the size of the buffer that holds n more bytes of the partial line.
func (s *Splitter) grownTo(n int) int {
	have := len(s.partial.text)
	need := have + min(n, max(0, s.max-have))
	if need <= cap(s.partial.text) {
		return cap(s.partial.text)
	}
	return min(RoundBuffer(max(need, 2*cap(s.partial.text), 256)), max(s.max, need))
}

// Line consumes the line that Next found and returns it.
func (s *Splitter) Line() Line {
	if s.flushed {
		s.flushed = false
		return s.finish()
	}
	if s.partial.size > 0 {
		s.keep()
		l := s.finish()
		s.endLine()
		return l
	}
	// The usual case: a whole line in one chunk, returned without a copy.
	piece := s.chunk[:s.size]
	afterCR := s.cr
	s.cr = false
	s.tracker.Add(piece, s.raw)
	s.last = hashLine(piece)
	if s.raw >= 0 {
		s.endRaw = s.raw + int64(len(piece))
	}
	l := s.line(piece, int64(len(piece)), afterCR)
	s.consume(len(piece))
	s.endLine()
	return l
}

// endLine consumes the line end after a line.
func (s *Splitter) endLine() {
	s.cr, s.lf = s.endsCR, !s.endsCR
	s.consume(1)
}

// Keep keeps what is left of the chunk: the start of a line whose end has not come.
func (s *Splitter) Keep() {
	if s.size > 0 {
		s.keep()
		s.size = 0
	}
}

// keep moves the piece that Next found to the partial line.
func (s *Splitter) keep() {
	piece := s.chunk[:s.size]
	if len(piece) == 0 {
		return
	}
	p := &s.partial
	if p.size == 0 {
		p.raw, p.afterCR = s.raw, s.cr
	}
	s.cr, s.pendingEnd = false, false
	if size := s.grownTo(len(piece)); size > cap(p.text) {
		grown := append(GetBuffer(size), p.text...)
		PutBuffer(p.text)
		p.text = grown
	}
	p.text = append(p.text, piece[:min(len(piece), max(0, s.max-len(p.text)))]...)
	s.hashLong(piece)
	s.consume(len(piece))
}

// hashLong counts a piece of the partial line, and hashes it where the line is longer
// than what is kept of it.
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
		p.hash.Write(p.text[:before]) //nolint:errcheck // xxhash never fails
		p.lineHash.Reset()
		p.lineHash.Write(p.text[:before]) //nolint:errcheck // xxhash never fails
		p.tail = append(p.tail[:0], p.text[max(0, int(before)-FingerprintSize):before]...)
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

// finish makes a line of the partial line.
func (s *Splitter) finish() Line {
	p := &s.partial
	if p.size > int64(s.max) {
		s.tracker.addHashed(p.hash, p.tail, p.size, p.raw)
		s.last = LineHash{}
		if p.size > FingerprintSize {
			s.last = LineHash{p.size, p.lineHash.Sum64()}
		}
	} else {
		s.tracker.Add(p.text, p.raw)
		s.last = hashLine(p.text)
	}
	s.consumed, s.endRaw = true, s.raw
	return s.line(p.text, p.size, p.afterCR)
}

// line returns a line and counts it.
func (s *Splitter) line(text []byte, size int64, afterCR bool) Line {
	l := Line{Text: text[:min(len(text), s.max)], Size: size, Seq: s.lines, Blank: int32(s.blank)}
	if s.endsCR {
		l.Ends = EndsCR
	}
	if afterCR {
		l.Ends |= AfterCR
	}
	if !s.lf {
		l.Ends |= SameTerminal
	}
	s.lines++
	s.blank, s.pendingEnd, s.lf = 0, false, false
	return l
}

// releaseConsumed releases the buffer of a partial line that was returned.
func (s *Splitter) releaseConsumed() {
	if s.consumed {
		s.Drop()
	}
}

// Drop forgets the partial line and releases its buffer. Its bytes are read again from
// the position.
func (s *Splitter) Drop() {
	s.consumed = false
	PutBuffer(s.partial.text)
	s.partial.text, s.partial.size, s.partial.tail = nil, 0, nil
}

// Partial returns the size of the line that has begun and not ended; 0: there is none.
func (s *Splitter) Partial() int64 {
	if s.consumed {
		return 0
	}
	return s.partial.size
}

// Buffered returns how many bytes the buffer of the partial line takes.
func (s *Splitter) Buffered() int { return cap(s.partial.text) }

// Lines returns how many lines were returned, and with those before it began.
func (s *Splitter) Lines() uint64 { return s.lines }

// Content returns how many content bytes are before the position.
func (s *Splitter) Content() uint64 { return s.tracker.content }

// Reached returns how many content bytes were written, those of the partial line
// included.
func (s *Splitter) Reached() uint64 { return s.tracker.content + uint64(s.Partial()) }

// Raw returns the raw offset of the next byte, or UnknownOffset.
func (s *Splitter) Raw() int64 { return s.raw }

// AfterNewline reports whether a \n came since the last line.
func (s *Splitter) AfterNewline() bool { return s.lf }

// Origin returns that of the line that was returned last, l.
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

// Track copies what positions are made of to another Tracker, and returns how many
// lines, which raw offset and which last line belong to it.
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
