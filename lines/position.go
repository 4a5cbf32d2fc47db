package lines

import (
	"github.com/cespare/xxhash/v2"
)

// FingerprintSize is how many of the last content bytes identify a position (bytes).
const FingerprintSize = 4096

// maxTailRead is the maximum number of raw bytes that are read again to verify a
// fingerprint: a part of a log with more line ends is not worth the cost.
const maxTailRead = 64 << 10

// UnknownOffset is the raw offset of a position if the transport does not report raw
// offsets.
const UnknownOffset int64 = -1

// Position is how far a log was read: it is right after the last content byte of a
// line, before its line end. Copies share nothing. The zero value is not valid, since its
// Hash is not initialised: Start returns the start of a log.
type Position struct {
	Content uint64 // content bytes before it
	Lines   uint64 // lines before it: the seq of the next one
	Raw     int64  // raw offset, or UnknownOffset
	// Hash is the state of a digest of all content before the position. A state, unlike a
	// sum, can be continued.
	Hash xxhash.Digest
	Tail Fingerprint
	Line LineHash
}

// Fingerprint identifies a position by the last content bytes before it.
type Fingerprint struct {
	Length int    // content bytes, at most FingerprintSize
	Hash   uint64 // xxhash64 of them
	Start  int64  // raw offset of the first, or UnknownOffset
}

// LineHash identifies the last line before a position if it is longer than a fingerprint:
// such lines may end alike. It is zero for shorter lines.
type LineHash struct {
	Size int64
	Hash uint64 // xxhash64
}

// Start returns the position at the start of a log.
func Start() Position {
	p := Position{}
	p.Hash.Reset()
	p.Tail.Hash = p.Hash.Sum64()
	return p
}

// HasShortTail reports whether a short read before p verifies it.
func (p *Position) HasShortTail() bool { return p.ShortTailTo(p.Raw) }

// ShortTailTo reports whether the raw bytes from the fingerprint's start to an offset at or
// after p are few enough to be read again.
func (p *Position) ShortTailTo(raw int64) bool {
	return p.Raw >= 0 && p.Tail.Start >= 0 && raw-p.Tail.Start <= maxTailRead
}

// offsetSample is a content offset whose raw offset is known.
type offsetSample struct {
	content uint64
	raw     int64
}

// Tracker keeps what a position needs of the content before it: a rolling hash and
// the last bytes. The zero value is not ready: see Reset. Not safe for concurrent use.
type Tracker struct {
	content uint64
	// hash covers all content except the last unhashed bytes of tail: hashing many lines
	// at once is cheaper. flushHash adds them.
	hash     xxhash.Digest
	unhashed int
	tail     []byte         // the last content bytes: FingerprintSize or more, if there are as many
	samples  []offsetSample // in order; the fingerprint starts at the first one within its size
}

// Reset sets t to the start of a log.
func (t *Tracker) Reset() {
	*t = Tracker{}
	t.hash.Reset()
}

// Content returns the number of content bytes that were added.
func (t *Tracker) Content() uint64 { return t.content }

// CopyFrom copies other to t. They share no memory, and t keeps its buffers.
func (t *Tracker) CopyFrom(other *Tracker) {
	tail, samples := t.tail, t.samples
	*t = *other
	t.tail = append(tail[:0], other.tail...)
	t.samples = append(samples[:0], other.samples...)
}

// tailSize is the size at which the tail is truncated to its fingerprint (bytes).
const tailSize = 4 * FingerprintSize

// Add adds a run of content bytes that begins at the raw offset (or UnknownOffset).
func (t *Tracker) Add(run []byte, raw int64) {
	if len(run) < FingerprintSize {
		t.remember(run, raw)
		t.unhashed += len(run)
		return
	}
	t.flushHash()
	t.hash.Write(run) //nolint:errcheck // xxhash never fails
	t.remember(run, raw)
}

// flushHash adds the unhashed bytes to the hash.
func (t *Tracker) flushHash() {
	if t.unhashed > 0 {
		t.hash.Write(t.tail[len(t.tail)-t.unhashed:]) //nolint:errcheck // xxhash never fails
		t.unhashed = 0
	}
}

// addHashed is Add for a run of size bytes of which the caller has only the last ones. h is
// the hash with the run included.
func (t *Tracker) addHashed(h xxhash.Digest, last []byte, size int64, raw int64) {
	t.hash, t.unhashed = h, 0
	if skipped := size - int64(len(last)); skipped > 0 {
		t.content += uint64(skipped)
		if raw >= 0 {
			raw += skipped
		}
	}
	t.remember(last, raw)
}

// sampleEvery is how many content bytes are between two samples.
const sampleEvery = 256

func (t *Tracker) remember(run []byte, raw int64) {
	n := len(run)
	start := t.content
	t.content += uint64(n)
	if n >= FingerprintSize {
		t.tail = append(t.tail[:0], run[n-FingerprintSize:]...)
		t.samples = t.samples[:0]
		if raw >= 0 {
			t.samples = append(t.samples, offsetSample{t.content - FingerprintSize, raw + int64(n-FingerprintSize)})
		}
		return
	}
	if len(t.tail)+n > tailSize {
		t.flushHash()
		t.tail = t.tail[:copy(t.tail, t.tail[len(t.tail)-FingerprintSize:])]
	}
	t.tail = append(t.tail, run...)
	if raw < 0 {
		t.samples = t.samples[:0]
		return
	}
	if l := len(t.samples); l == 0 || n >= sampleEvery || start-t.samples[l-1].content >= sampleEvery {
		if l == cap(t.samples) {
			t.trimSamples()
		}
		t.samples = append(t.samples, offsetSample{start, raw})
	}
}

func (t *Tracker) trimSamples() {
	i := 0
	for i < len(t.samples) && t.samples[i].content+FingerprintSize < t.content {
		i++
	}
	t.samples = t.samples[:copy(t.samples, t.samples[i:])]
}

// Position returns the position after the bytes that were added, for a number of lines and
// a raw offset (or UnknownOffset). It does not set Line.
func (t *Tracker) Position(lines uint64, raw int64) Position {
	t.flushHash()
	pos := Position{Content: t.content, Lines: lines, Raw: raw, Hash: t.hash}
	t.trimSamples()
	if raw >= 0 && len(t.samples) > 0 {
		pos.Tail.Start = t.samples[0].raw
		pos.Tail.Length = int(t.content - t.samples[0].content)
	} else {
		pos.Tail.Start = UnknownOffset
		pos.Tail.Length = min(len(t.tail), FingerprintSize)
		if t.content == 0 && raw >= 0 {
			pos.Tail.Start = raw
		}
	}
	pos.Tail.Hash = xxhash.Sum64(t.tail[len(t.tail)-pos.Tail.Length:])
	return pos
}
