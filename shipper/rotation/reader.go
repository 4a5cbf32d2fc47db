package rotation

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"raytap/ray"
)

// Chunk is the next bytes of a log.
type Chunk struct {
	// Data is valid until the next call of Next or Close.
	Data []byte
	// Lost: bytes before Data were deleted before they were read, or may have been, or Data
	// is of another log.
	Lost bool
	// NewGeneration: Data is the beginning of another generation than the data before it.
	NewGeneration bool
}

// Reader reads a rotated log from a position on. Not safe for concurrent use.
//
// While nothing is written, a Next that ends with io.EOF costs one request. One that
// returns bytes of the open generation costs two: their read, and a Stat of NAME.1. Of
// more bytes, a request reads up to 4 MiB, which several Nexts return. Close ends such a
// request, and frees the buffer.
//
// A response has the bytes of one file, whatever its name is by then. So those of a log
// that is renamed are confirmed once, before the first of them is returned. A file of a
// copied log can be truncated and written again while it is sent: then each Next confirms
// what it returns.
//
// What it cannot tell, since neither names nor content show it:
//   - a copied log of one repeated line whose open file, between two looks, was truncated
//     and has grown past the whole generation before it;
//   - a renamed log of one repeated line whose first generation was deleted between two
//     looks before a second one was read;
//   - in a log of one repeated line, two rotations between two looks of which the second
//     is within its renames just now;
//   - a copy that is not whole yet, at the first sight of a copied log;
//   - a log that is truncated without a copy, or one that is not declared as copied, and
//     grows past the position again while one response is read;
//   - what is written to a generation after a later one has a byte: it is not read.
type Reader struct {
	files  Files
	copied bool
	pos    Position // after what was handed on
	chunk  Chunk    // handed on last
	start  Position // before chunk.Data
	lost   bool     // the next data has Lost
	fresh  bool     // the next data has NewGeneration
	sizes  sizes
	response
	finder
}

// sizes are how many bytes a Sum covers, how many one Next returns, and how many one request
// reads, at most.
type sizes struct{ proof, chunk, span int64 }

func sizesFor(copied bool) sizes {
	if copied {
		return sizes{proof: ProofSize, chunk: maxChunk, span: maxSpan}
	}
	return sizes{proof: ProofSize, chunk: maxPiece, span: maxSpan}
}

// finder is what a Reader knows about names. A name is only a guess: what is read under it
// is handed on only if it is confirmed.
type finder struct {
	at      int  // the generation's number
	located bool // at is worth a try
	tries   int  // of this look that failed because names moved
	// holed is what was there when numbers were last missing, and stuck is the same of the look
	// before; settled: they are equal, so that nothing moves. A look ends with an error of Next.
	holed, stuck uint64
	settled      bool
	// small is a file with less than a whole head, first seen in the look smallAt. looks
	// counts them.
	small          Validator
	smallAt, looks uint
	// seen is the open generation when it was last read to its end and confirmed.
	seen ray.FileStat
	// size is the generation's when it was read last.
	size int64
	// repeat is what the next read has to repeat in place of the proof, if it is longer.
	repeat Sum
	// copyOfIt is the file that lay under NAME.1 when NAME was found to be a generation that
	// NAME.1 is no predecessor of: the copy of a copytruncate that goes on, or a backup.
	copyOfIt Validator
	cause    error // why the generation was not found
}

// NewReader returns a reader that starts at a position. copied: the log is likely to be
// rotated by copytruncate, so that its open generation can have the same bytes as a
// numbered name. NewReader sends no request.
func NewReader(files Files, copied bool, at Position) *Reader {
	return &Reader{
		files: files, copied: copied, pos: at, start: at,
		sizes: sizesFor(copied), finder: finder{located: at.Raw > 0 && at.Own == 0},
	}
}

// Rewind makes the reader start at a position again, as NewReader does. What it knows of names
// that move, or are missing, stays: only a second look can say that they do not move.
func (r *Reader) Rewind(at Position) {
	r.Close()
	fresh := NewReader(r.files, r.copied, at)
	fresh.sizes, fresh.at = r.sizes, r.at
	fresh.holed, fresh.stuck, fresh.small, fresh.smallAt, fresh.looks = r.holed, r.stuck, r.small, r.smallAt, r.looks
	*r = *fresh
}

// outcome is how one step of a look ended.
type outcome int

const (
	handed  outcome = iota // the chunk is ready
	atEnd                  // nothing more is written yet
	moved                  // the position is in another generation, or under another name
	changed                // what was read is not confirmed
)

// Next returns the next bytes, oldest first, never from two generations at once. It returns
// io.EOF at the present end of the open generation, and errors of Files as they are. After
// three tries it returns ErrRotating if names move, an error with ray.Code 404 if the log
// does not exist, or one with 503 if the responses end too early. After any error it can be
// called again.
func (r *Reader) Next(ctx context.Context) (Chunk, error) {
	r.tries, r.cause = 0, nil
	if r.pos == (Position{}) {
		r.located = false
	}
	if time.Since(r.returned) > maxHeld {
		r.end()
	}
	for range 4 * maxNumber {
		o, err := r.step(ctx)
		if errors.Is(err, errTruncated) {
			r.cause, o, err = err, changed, nil
		}
		switch {
		case err != nil:
			return Chunk{}, r.fail(err)
		case o == handed:
			r.returned = time.Now()
			return r.chunk, nil
		case o == atEnd:
			return Chunk{}, r.fail(io.EOF)
		case o == changed:
			r.end()
			r.located = false
			if r.tries++; r.tries == 3 {
				return Chunk{}, r.fail(cmp.Or(r.cause, ErrRotating))
			}
			r.cause = nil
		}
	}
	return Chunk{}, r.fail(ErrRotating)
}

// fail returns an error of Next, which ends a look.
func (r *Reader) fail(err error) error {
	r.Close()
	r.stuck = r.holed
	r.looks++
	return err
}

// Position returns the position before byte i of the Data that Next returned last; i =
// len(Data) is its end. After an error it is where the next data begins, for i = 0.
func (r *Reader) Position(i int) Position {
	if i == 0 {
		return r.start
	}
	p, proof, end := r.start, int(r.sizes.proof), r.before+i
	p.Raw += int64(i)
	if p.Head.Size < min(proof, int(p.Raw)) { // then buf begins where the generation does
		p.Head = sumOf(r.buf[:min(end, proof)])
	}
	p.Proof = sumOf(r.buf[max(0, end-proof):end])
	p.Own = r.pos.Own
	return p
}

// Number returns the number of the name under which the generation was found last: 0 for
// the log itself. At the first data of a log it is the number of its oldest generation.
func (r *Reader) Number() int { return r.at }

// AtEnd reports whether the data that Next returned last ends where the open generation
// ended: a call right after it is likely to return io.EOF.
func (r *Reader) AtEnd() bool { return r.at == 0 && r.seen.Size > 0 && r.seen.Size == r.pos.Raw }

// Size returns the generation's size when it was read last (bytes); 0: it was not.
func (r *Reader) Size() int64 { return r.size }

// Repeat makes the next read repeat b, the last bytes before the position, if they are more
// than ProofSize: within a line that is longer than that, a shorter piece may well be the
// same in another log.
func (r *Reader) Repeat(b []byte) {
	if len(b) > int(r.sizes.proof) {
		r.repeat = sumOf(b)
	}
}

// proof returns the bytes before the position that a read repeats.
func (r *Reader) proof() Sum {
	if r.repeat.Size > r.pos.Proof.Size {
		return r.repeat
	}
	return r.pos.Proof
}

func (r *Reader) step(ctx context.Context) (outcome, error) {
	if r.body != nil {
		if r.pull() == nil {
			return r.handOn(ctx)
		}
		r.end() // the response has ended too early
	}
	if !r.located {
		if o, err := r.locate(ctx); o != moved || err != nil {
			return o, err
		}
	}
	fits, err := r.open(ctx)
	switch {
	case missing(err):
		r.cause = err
		return changed, nil
	case err != nil:
		return 0, err
	case !fits:
		return changed, nil
	}
	r.size = r.stat.Size
	if r.left <= 0 {
		r.end()
		return r.atItsEnd(ctx, r.stat)
	}
	if err := r.pull(); err != nil {
		return 0, err
	}
	return r.handOn(ctx)
}

// handOn makes a chunk of the bytes that were pulled last, if they are confirmed.
func (r *Reader) handOn(ctx context.Context) (outcome, error) {
	r.start, r.chunk = r.pos, Chunk{Data: r.buf[r.before:], Lost: r.lost, NewGeneration: r.fresh}
	end := r.Position(len(r.chunk.Data))
	if r.copied || !r.confirmed {
		if ok, err := r.confirmData(ctx, r.stat, &end); err != nil || !ok {
			return changed, err
		}
		r.confirmed = true
	}
	r.pos, r.lost, r.fresh, r.repeat = end, false, false, Sum{}
	r.seen = ray.FileStat{}
	if r.at == 0 && end.Raw == r.stat.Size {
		r.seen = r.stat
	}
	if r.left == 0 {
		r.end()
	}
	return handed, nil
}

// confirmData confirms what was read up to end, and notes in end what the generation is if
// it is closed.
func (r *Reader) confirmData(ctx context.Context, st ray.FileStat, end *Position) (bool, error) {
	closed := false
	if r.at > 0 && end.Own == 0 {
		next, _, _, err := r.newer(ctx)
		if err != nil && !errors.Is(err, errMoving) {
			return false, err
		}
		closed = next >= 0
	}
	ok, err := r.confirm(ctx, st, *end)
	if err != nil || !ok || !closed {
		return ok, err
	}
	own, err := r.validatorOf(ctx, r.at, st)
	if err != nil {
		return false, ignoreMissing(err)
	}
	now, err := r.validator(ctx, r.at)
	end.Own = own
	return now == own, err
}

// confirm reports whether bytes that were read up to end, of a file that was then in the
// state st, are of the position's generation: the file before it is still the one that it
// was, and the bytes of a numbered name have not changed since.
func (r *Reader) confirm(ctx context.Context, st ray.FileStat, end Position) (bool, error) {
	if r.at > 0 {
		now, err := r.files.Stat(ctx, r.at)
		if missing(err) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if r.pos.Own != 0 {
			if own, err := r.validatorOf(ctx, r.at, st); err != nil || own != r.pos.Own {
				return false, err
			}
		}
		if !sameFile(now, st) {
			// A writer that goes on only appends; a copy that is written in place does not.
			if now.Size < st.Size {
				return false, nil
			}
			if ok, err := r.fits(ctx, r.at, end); !ok || err != nil {
				return false, err
			}
		}
		if r.at == maxNumber {
			return true, nil
		}
	}
	before, err := r.validator(ctx, r.at+1)
	if before == 0 && err == nil && (r.pos == (Position{}) || r.settled && r.pos.Raw == 0) {
		// At first sight, names may be moving; else the number was deleted.
		before, err = r.validator(ctx, r.at+2)
	}
	switch {
	case err != nil:
		return false, err
	case before == r.pos.After:
		return true, nil
	case r.at == 0 && r.copied && before != 0 && before == r.copyOfIt:
		return r.fits(ctx, 0, end)
	}
	return false, nil
}

// missing reports whether a file does not exist.
func missing(err error) bool { return err != nil && ray.Code(err) == http.StatusNotFound }
