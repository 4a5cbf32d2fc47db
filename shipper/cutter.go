package shipper

import (
	"bytes"

	"github.com/cespare/xxhash/v2"
)

// cutter makes lines of a log's bytes. A line is a maximal run of bytes other
// than \r and \n: however the same bytes are cut into chunks, the same lines
// come out. Empty lines are no lines; they are counted.
//
// It keeps at most max bytes of a line, and goes on counting and hashing the
// rest, so that a line of any length costs bounded memory.
type cutter struct {
	max int
	// reserve is asked before the kept half line grows by n bytes, and told by
	// a negative n when it is let go; nil: nobody asks.
	reserve func(n int) error
	// admit is asked before a line of size bytes is taken; nil: nobody asks. On
	// an error the position stands before that line.
	admit func(size int64) error

	proofs        // up to the end of the last line
	lines  uint64 // lines so far
	endRaw int64  // raw offset right behind the last line, or unknown
	raw    int64  // raw offset of the next byte, or unknown

	part     []byte        // the first max bytes of the half line
	partCR   bool          // it begins behind a \r
	partSize int64         // the whole length of the half line
	partRaw  int64         // where it begins
	over     xxhash.Digest // the hash with the half line, once that is longer than part
	overLine xxhash.Digest // the hash of the half line alone, likewise
	overTail []byte        // the last anchorSize bytes of such a half line

	line  lineProof // of the last line
	blank int       // empty lines since the last line
	cr    bool      // the last byte was \r: a \n now belongs to it
	lf    bool      // a \n came since the last line
	owed  bool      // the next line end ends a line that was given already
}

// cutLine is one line. text is valid during the call only.
type cutLine struct {
	text  []byte // at most max bytes of it
	size  int64  // its length
	seq   uint64
	blank int32    // how many empty lines stood before it
	lines uint16   // how many lines it stands for, where they were joined; else 0
	ends  lineEnds // the line ends around it
}

// lineEnds tell lines apart that are overwritten by others. A cutLine goes by
// value from hand to hand, and every word of it costs.
type lineEnds uint8

const (
	endsCR   lineEnds = 1 << iota // it ends with a \r; a \n may belong to that
	behindCR                      // a \r stands right before it
	over                          // no \n stands between it and the line before
)

// around gives the line ends of a line that ends with a \r, or stands behind one.
func around(cr, behind bool) (e lineEnds) {
	if cr {
		e = endsCR
	}
	if behind {
		e |= behindCR
	}
	return e
}

// newCutter starts at the start of a log. raw is 0, or unknown where the way
// does not tell raw bytes.
func newCutter(max int, raw int64) *cutter {
	c := &cutter{max: max, raw: raw, endRaw: raw}
	c.hash.Reset()
	return c
}

// resumeCutter goes on behind a proven position.
func resumeCutter(max int, p *prover) *cutter {
	c := &cutter{max: max, proofs: p.proofs, lines: p.want.lines, raw: p.raw, endRaw: p.raw}
	c.hash, c.owing = p.want.hash, 0
	c.owed = p.want.content > 0
	c.line = p.want.line
	return c
}

// feed takes the next bytes and gives each line that they end. An error of
// emit is returned at once; what was fed behind that line is forgotten.
func (c *cutter) feed(b []byte, emit func(cutLine) error) error {
	returns := bytes.IndexByte(b, '\r') >= 0 // most logs have none
	for len(b) > 0 {
		seg, ended := b, false
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			seg, b, ended = b[:i], b[i+1:], true
		} else {
			b = nil
		}
		for returns {
			i := bytes.IndexByte(seg, '\r')
			if i < 0 {
				break
			}
			if err := c.end(seg[:i], true, emit); err != nil {
				return err
			}
			c.cr = true
			seg = seg[i+1:]
		}
		if !ended {
			return c.hold(seg)
		}
		if c.cr && len(seg) == 0 {
			c.cr, c.lf = false, true // the \n of a \r\n
			c.advance(1)
			continue
		}
		if err := c.end(seg, false, emit); err != nil {
			return err
		}
		c.lf = true
	}
	return nil
}

func (c *cutter) advance(n int) {
	if c.raw >= 0 {
		c.raw += int64(n)
	}
}

// end takes the last piece of a line and the line end behind it: a \r, or a \n.
func (c *cutter) end(piece []byte, cr bool, emit func(cutLine) error) error {
	returned := c.cr
	c.cr = false
	if len(piece) == 0 && c.partSize == 0 {
		if c.owed {
			c.owed = false
		} else {
			c.blank++
		}
		c.advance(1)
		return nil
	}
	if c.partSize == 0 {
		// The usual case: a whole line in one chunk, given without a copy.
		if c.admit != nil {
			if err := c.admit(int64(len(piece))); err != nil {
				return err
			}
		}
		raw := c.raw
		c.advance(len(piece))
		c.add(piece, raw)
		c.line = proveLine(piece)
		err := c.give(cutLine{text: piece, size: int64(len(piece)), ends: around(cr, returned)}, emit)
		c.advance(1)
		return err
	}
	if err := c.hold(piece); err != nil {
		return err
	}
	err := c.finish(cr, emit)
	c.advance(1)
	return err
}

// hold keeps a piece of a line whose end has not come yet.
func (c *cutter) hold(piece []byte) error {
	if len(piece) == 0 {
		return nil
	}
	if c.partSize == 0 {
		c.partRaw, c.partCR = c.raw, c.cr
	}
	c.cr, c.owed = false, false
	c.advance(len(piece))
	if room := c.max - len(c.part); room > 0 {
		if err := c.keep(piece[:min(room, len(piece))]); err != nil {
			return err
		}
	}
	before := c.partSize
	c.partSize += int64(len(piece))
	if c.partSize <= int64(c.max) {
		return nil
	}
	if before <= int64(c.max) {
		c.settle()
		c.over = c.hash
		c.over.Write(c.part[:before]) //nolint:errcheck // xxhash never fails
		c.overLine.Reset()
		c.overLine.Write(c.part[:before]) //nolint:errcheck // xxhash never fails
		c.overTail = append(c.overTail[:0], c.part[max(0, int(before)-anchorSize):before]...)
	}
	c.over.Write(piece)     //nolint:errcheck // xxhash never fails
	c.overLine.Write(piece) //nolint:errcheck // xxhash never fails
	if len(piece) >= anchorSize {
		c.overTail = append(c.overTail[:0], piece[len(piece)-anchorSize:]...)
		return nil
	}
	c.overTail = append(c.overTail, piece...)
	if n := len(c.overTail); n > anchorSize {
		c.overTail = c.overTail[:copy(c.overTail, c.overTail[n-anchorSize:])]
	}
	return nil
}

func (c *cutter) keep(b []byte) error {
	if need := len(c.part) + len(b); need > cap(c.part) {
		size := min(longSize(max(need, 2*cap(c.part), 256)), max(c.max, need))
		if c.reserve != nil {
			if err := c.reserve(size - cap(c.part)); err != nil {
				return err
			}
		}
		grown := append(newLong(size), c.part...)
		freeLong(c.part)
		c.part = grown
	}
	c.part = append(c.part, b...)
	return nil
}

// half reports whether a line has begun and not ended.
func (c *cutter) half() bool { return c.partSize > 0 }

// flush gives the half line, if there is one, as a line: its run has ended.
func (c *cutter) flush(emit func(cutLine) error) error {
	if c.partSize == 0 {
		return nil
	}
	return c.finish(false, emit)
}

// finish gives the half line as a line.
func (c *cutter) finish(cr bool, emit func(cutLine) error) error {
	if c.admit != nil {
		if err := c.admit(c.partSize); err != nil {
			return err
		}
	}
	if c.partSize > int64(c.max) {
		c.addHashed(c.over, c.overTail, c.partSize, c.partRaw)
		c.line = lineProof{}
		if c.partSize > anchorSize {
			c.line = lineProof{c.partSize, c.overLine.Sum64()}
		}
	} else {
		c.add(c.part, c.partRaw)
		c.line = proveLine(c.part)
	}
	err := c.give(cutLine{text: c.part, size: c.partSize, ends: around(cr, c.partCR)}, emit)
	c.drop()
	return err
}

// drop lets the half line go. Its bytes are read again from the position.
func (c *cutter) drop() {
	if c.reserve != nil && cap(c.part) > 0 {
		c.reserve(-cap(c.part)) //nolint:errcheck // giving back never fails
	}
	freeLong(c.part)
	c.part, c.partSize, c.overTail = nil, 0, nil
}

func (c *cutter) give(l cutLine, emit func(cutLine) error) error {
	if len(l.text) > c.max {
		l.text = l.text[:c.max]
	}
	l.blank, l.seq = int32(c.blank), c.lines
	if !c.lf {
		l.ends |= over
	}
	c.endRaw = c.raw
	c.lines++
	c.blank, c.owed, c.lf = 0, false, false
	return emit(l)
}

// position gives the place behind the last line.
func (c *cutter) position() position {
	p := c.proofs.position(c.lines, c.endRaw)
	p.line = c.line
	return p
}

func proveLine(line []byte) lineProof {
	if len(line) <= anchorSize {
		return lineProof{}
	}
	return lineProof{int64(len(line)), xxhash.Sum64(line)}
}
