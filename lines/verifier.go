package lines

import (
	"bytes"
	"errors"
	"io"

	"github.com/cespare/xxhash/v2"
)

// Verifier is fed the bytes before a position, and decides whether they are the content
// that was read before. Make it with VerifyAll, VerifyTail or Found. Not safe for
// concurrent use.
type Verifier struct {
	Tracker
	want Position
	sum  uint64 // expected hash of the bytes
	raw  int64  // raw offset of the next byte, or UnknownOffset
}

// VerifyAll returns a Verifier for all content before a position, fed from the log's first
// byte on. raw is 0; or UnknownOffset, if the transport does not report raw offsets or that
// of the position is not to be compared.
func VerifyAll(want Position, raw int64) *Verifier {
	v := &Verifier{want: want, raw: raw, sum: want.Hash.Sum64()}
	v.hash.Reset()
	return v
}

// VerifyTail returns a Verifier for the position's fingerprint, fed from the raw offset
// Tail.Start on.
func VerifyTail(want Position) *Verifier {
	v := &Verifier{want: want, raw: want.Tail.Start, sum: want.Tail.Hash}
	v.hash.Reset()
	v.content = want.Content - uint64(want.Tail.Length)
	return v
}

// Found returns a Verifier that is done: Find has found the position in a window of the
// log, and before is the window up to the position.
func Found(want Position, before []byte) *Verifier {
	v := &Verifier{want: want, raw: UnknownOffset}
	content := AppendContent(make([]byte, 0, len(before)), before)
	v.tail = append(v.tail, content[len(content)-want.Tail.Length:]...)
	v.content = want.Content
	return v
}

// Want returns the position to verify.
func (v *Verifier) Want() Position { return v.want }

// IgnoreRaw makes OK compare the content only, not the raw offset. It returns v.
func (v *Verifier) IgnoreRaw() *Verifier {
	v.want.Raw = UnknownOffset
	return v
}

// Feed consumes the bytes up to the position and returns those after it. It needs more
// bytes while done is false.
func (v *Verifier) Feed(b []byte) (rest []byte, done bool) {
	for len(b) > 0 && v.content < v.want.Content {
		if b[0] == '\n' || b[0] == '\r' {
			b = b[1:]
			v.skip(1)
			continue
		}
		run := b
		if left := v.want.Content - v.content; uint64(len(run)) > left {
			run = run[:left]
		}
		if i := bytes.IndexByte(run, '\n'); i >= 0 {
			run = run[:i]
		}
		if i := bytes.IndexByte(run, '\r'); i >= 0 {
			run = run[:i]
		}
		v.Add(run, v.raw)
		v.skip(len(run))
		b = b[len(run):]
	}
	return b, v.content == v.want.Content
}

func (v *Verifier) skip(n int) {
	if v.raw >= 0 {
		v.raw += int64(n)
	}
}

// Done reports whether all content before the position was consumed.
func (v *Verifier) Done() bool { return v.content == v.want.Content }

// OK reports, once Done, whether the content is the expected one. If the raw offset is
// known on both sides, it has to be the same, too.
func (v *Verifier) OK() bool {
	v.flushHash()
	if v.hash.Sum64() != v.sum {
		return false
	}
	return v.raw < 0 || v.want.Raw < 0 || v.raw == v.want.Raw
}

// Seen returns the content that was consumed so far, and more after it, as a position that
// VerifyAll can verify in another read. It has no fingerprint.
func (v *Verifier) Seen(more []byte) Position {
	v.flushHash()
	p := Position{Content: v.content + uint64(ContentLen(more)), Hash: v.hash, Raw: UnknownOffset}
	p.Hash.Write(AppendContent(nil, more)) //nolint:errcheck // xxhash never fails
	return p
}

// FeedAll feeds v from r until EOF, and returns how many content bytes are after the
// position.
func (v *Verifier) FeedAll(r io.Reader) (rest uint64, err error) {
	buf := GetChunk()
	defer PutChunk(buf)
	for {
		n, err := r.Read(*buf)
		b, _ := v.Feed((*buf)[:n])
		rest += uint64(ContentLen(b))
		switch {
		case errors.Is(err, io.EOF):
			return rest, nil
		case err != nil:
			return rest, err
		}
	}
}

// Find searches the last lines of a log, window, for a position. It returns how many
// places match, and the index in window after the last one.
func Find(window []byte, p *Position) (at, matches int) {
	tail, line := p.Tail, p.Line
	if tail.Length == 0 {
		return 0, 0 // nothing to compare
	}
	content := make([]byte, 0, len(window))
	for i := 0; i < len(window); {
		j := i
		for j < len(window) && window[j] != '\n' && window[j] != '\r' {
			j++
		}
		if j > i {
			content = append(content, window[i:j]...)
			if n := len(content); n >= tail.Length && xxhash.Sum64(content[n-tail.Length:]) == tail.Hash &&
				(line.Size == 0 || line.Size == int64(j-i) && line.Hash == xxhash.Sum64(window[i:j])) {
				at = j
				matches++
			}
		}
		i = j + 1
	}
	return at, matches
}
