package shipper

import (
	"bytes"

	"github.com/cespare/xxhash/v2"
)

// Content bytes are all bytes of a log but \r and \n. Every way to read a log
// agrees on them, whatever it does to line ends, so positions count them.

// anchorSize is how many of the last content bytes prove a position (bytes).
const anchorSize = 4096

// maxStretch bounds the raw bytes that are read again to prove an anchor: a
// stretch with more line ends than that is not worth its cost.
const maxStretch = 64 << 10

// unknown is the raw offset of a place that was reached by a way which does not
// tell raw offsets.
const unknown int64 = -1

// position is how far a log was given: it stands right behind the last content
// byte of a line, before its line end. The zero value is the start of a log
// and needs newPosition only for its hash. It is a value: copies do not share.
type position struct {
	content uint64 // content bytes before it
	lines   uint64 // lines before it: the seq of the next one
	raw     int64  // raw offset, or unknown
	// hash has taken every content byte before the position. The state is kept,
	// not the digest, so that it can go on.
	hash   xxhash.Digest
	anchor anchor
	line   lineProof
}

// anchor proves a position by the last content bytes before it.
type anchor struct {
	length int    // content bytes, at most anchorSize
	hash   uint64 // xxhash64 of them
	start  int64  // raw offset of the first, or unknown
}

// lineProof tells lines apart that are longer than an anchor and end alike. It
// is that of the last line; zero where the anchor covers the line.
type lineProof struct {
	size int64
	hash uint64 // xxhash64
}

func newPosition() position {
	p := position{}
	p.hash.Reset()
	p.anchor.hash = p.hash.Sum64()
	return p
}

// rereadable reports whether a short raw stretch ending at p proves it.
func (p *position) rereadable() bool {
	return p.raw >= 0 && p.anchor.start >= 0 && p.raw-p.anchor.start <= maxStretch
}

// mark is a place whose raw offset is known.
type mark struct {
	content uint64
	raw     int64
}

// proofs remembers what a position needs of the content before it.
type proofs struct {
	content uint64
	// hash has taken all content but the last owing bytes of tail: hashing many
	// lines at once is cheaper. settle gives it those.
	hash  xxhash.Digest
	owing int
	tail  []byte // the last content bytes, at least anchorSize where there are so many
	marks []mark // in order; the first one not older than the anchor starts it
}

// tailSize is how long the tail gets before all but its anchor is dropped (bytes).
const tailSize = 4 * anchorSize

// add takes a run of content bytes, the first of which lies at raw (or unknown).
func (p *proofs) add(run []byte, raw int64) {
	if len(run) < anchorSize {
		p.remember(run, raw)
		p.owing += len(run)
		return
	}
	p.settle()
	p.hash.Write(run) //nolint:errcheck // xxhash never fails
	p.remember(run, raw)
}

// settle brings the hash up to the content.
func (p *proofs) settle() {
	if p.owing > 0 {
		p.hash.Write(p.tail[len(p.tail)-p.owing:]) //nolint:errcheck // xxhash never fails
		p.owing = 0
	}
}

// addHashed is add for a run of size bytes that the caller has hashed already
// into the given state, and of which it kept the last bytes only.
func (p *proofs) addHashed(h xxhash.Digest, last []byte, size int64, raw int64) {
	p.hash, p.owing = h, 0
	if skipped := size - int64(len(last)); skipped > 0 {
		p.content += uint64(skipped)
		if raw >= 0 {
			raw += skipped
		}
	}
	p.remember(last, raw)
}

const markEvery = 256

func (p *proofs) remember(run []byte, raw int64) {
	n := len(run)
	start := p.content
	p.content += uint64(n)
	if n >= anchorSize {
		p.tail = append(p.tail[:0], run[n-anchorSize:]...)
		p.marks = p.marks[:0]
		if raw >= 0 {
			p.marks = append(p.marks, mark{p.content - anchorSize, raw + int64(n-anchorSize)})
		}
		return
	}
	if len(p.tail)+n > tailSize {
		p.settle()
		p.tail = p.tail[:copy(p.tail, p.tail[len(p.tail)-anchorSize:])]
	}
	p.tail = append(p.tail, run...)
	if raw < 0 {
		p.marks = p.marks[:0]
		return
	}
	if l := len(p.marks); l == 0 || n >= markEvery || start-p.marks[l-1].content >= markEvery {
		if l == cap(p.marks) {
			p.trimMarks()
		}
		p.marks = append(p.marks, mark{start, raw})
	}
}

func (p *proofs) trimMarks() {
	i := 0
	for i < len(p.marks) && p.marks[i].content+anchorSize < p.content {
		i++
	}
	p.marks = p.marks[:copy(p.marks, p.marks[i:])]
}

// position gives the place right behind what was added, at the raw offset.
func (p *proofs) position(lines uint64, raw int64) position {
	p.settle()
	pos := position{content: p.content, lines: lines, raw: raw, hash: p.hash}
	p.trimMarks()
	if raw >= 0 && len(p.marks) > 0 {
		pos.anchor.start = p.marks[0].raw
		pos.anchor.length = int(p.content - p.marks[0].content)
	} else {
		pos.anchor.start = unknown
		pos.anchor.length = min(len(p.tail), anchorSize)
		if p.content == 0 && raw >= 0 {
			pos.anchor.start = raw
		}
	}
	pos.anchor.hash = xxhash.Sum64(p.tail[len(p.tail)-pos.anchor.length:])
	return pos
}

// prover reads bytes that should be the content before a position, and tells
// whether they are.
type prover struct {
	proofs
	want position
	sum  uint64 // of the bytes to read
	raw  int64  // raw offset of the next byte, or unknown
}

// proveAll proves a position by all content before it, read from the log's
// first byte on. raw is 0, or unknown where the way does not tell raw bytes.
func proveAll(want position, raw int64) *prover {
	p := &prover{want: want, raw: raw, sum: want.hash.Sum64()}
	p.hash.Reset()
	return p
}

// proveAnchor proves a position by the raw stretch from its anchor's start on.
func proveAnchor(want position) *prover {
	p := &prover{want: want, raw: want.anchor.start, sum: want.anchor.hash}
	p.hash.Reset()
	p.content = want.content - uint64(want.anchor.length)
	return p
}

// feed takes bytes up to the position and gives what lies behind it. While
// done is false it wants more.
func (p *prover) feed(b []byte) (rest []byte, done bool) {
	for len(b) > 0 && p.content < p.want.content {
		if b[0] == '\n' || b[0] == '\r' {
			b = b[1:]
			p.skip(1)
			continue
		}
		run := b
		if left := p.want.content - p.content; uint64(len(run)) > left {
			run = run[:left]
		}
		if i := bytes.IndexByte(run, '\n'); i >= 0 {
			run = run[:i]
		}
		if i := bytes.IndexByte(run, '\r'); i >= 0 {
			run = run[:i]
		}
		p.add(run, p.raw)
		p.skip(len(run))
		b = b[len(run):]
	}
	return b, p.content == p.want.content
}

func (p *prover) skip(n int) {
	if p.raw >= 0 {
		p.raw += int64(n)
	}
}

// proven reports, once feed is done, whether the bytes were the position's. A
// position whose raw offset is known must also be met there.
func (p *prover) proven() bool {
	p.settle()
	if p.hash.Sum64() != p.sum {
		return false
	}
	return p.raw < 0 || p.want.raw < 0 || p.raw == p.want.raw
}

// findPosition looks for a position in a window: the last lines of a log. It
// gives the index right behind the position, and how many places could be it.
func findPosition(window []byte, pos *position) (at, found int) {
	a, line := pos.anchor, pos.line
	if a.length == 0 {
		return 0, 0 // nothing to recognise
	}
	content := make([]byte, 0, len(window))
	for i := 0; i < len(window); {
		j := i
		for j < len(window) && window[j] != '\n' && window[j] != '\r' {
			j++
		}
		if j > i {
			content = append(content, window[i:j]...)
			if n := len(content); n >= a.length && xxhash.Sum64(content[n-a.length:]) == a.hash &&
				(line.size == 0 || line.size == int64(j-i) && line.hash == xxhash.Sum64(window[i:j])) {
				at = j
				found++
			}
		}
		i = j + 1
	}
	return at, found
}
