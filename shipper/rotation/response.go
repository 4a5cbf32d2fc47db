package rotation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"raytap/ray"
)

const (
	// maxChunk is how many bytes one Next returns of a copied log at most: they are
	// confirmed together, and with less, more requests are needed.
	maxChunk = 1 << 20
	// maxPiece is the same of a log that is renamed, whose bytes need no such confirmation.
	maxPiece = 64 << 10
	// maxSpan is how many bytes one request reads at most.
	maxSpan = 4 << 20
	// maxHeld is for how long the caller of Next may keep a response waiting: it is proof of
	// what the file was when it was opened.
	maxHeld = time.Second
)

// response is the one that is being read, and the buffer of what was read of it.
type response struct {
	body      io.ReadCloser // nil: there is none
	stat      ray.FileStat  // the file's when it was opened
	left      int64         // bytes to read
	confirmed bool          // the file is the position's generation
	returned  time.Time     // when Next has last returned bytes
	// buf is the bytes before the data, as many as a proof covers, and then the data, which
	// begins at before.
	buf    []byte
	before int
}

// Close ends the request that is being read, if there is one, and frees the Data that Next
// returned last: Position returns its end from then on. Next can be called again.
func (r *Reader) Close() {
	r.end()
	putBuffer(r.buf)
	r.start, r.chunk, r.buf, r.before = r.pos, Chunk{}, nil, 0
}

// end ends the request.
func (r *Reader) end() {
	if r.body != nil {
		_ = r.body.Close() // read for its content
	}
	r.body, r.left, r.confirmed = nil, 0, false
}

// open requests the next bytes at the position, and reports whether those before it are the
// ones that were read.
func (r *Reader) open(ctx context.Context) (fits bool, err error) {
	proof := r.proof()
	from := r.pos.Raw - int64(proof.Size)
	part, err := r.request(ctx, r.at, from, r.pos.Raw+r.sizes.span)
	if err != nil {
		return false, err
	}
	r.body, r.stat = part.Body, part.FileStat
	r.left = min(part.Size-r.pos.Raw, r.sizes.span)
	if r.left < 0 {
		return false, nil
	}
	r.before = 0
	r.grow(proof.Size, int(min(r.left, r.sizes.chunk)))
	if _, err := io.ReadFull(r.body, r.buf); err != nil {
		return false, truncated(err)
	}
	return proof.is(r.buf), nil
}

// pull reads the next bytes of the response.
func (r *Reader) pull() error {
	keep := min(len(r.buf), int(r.sizes.proof))
	copy(r.buf, r.buf[len(r.buf)-keep:])
	r.buf, r.before = r.buf[:keep], keep
	n := int(min(r.left, r.sizes.chunk))
	r.grow(n, 0)
	if _, err := io.ReadFull(r.body, r.buf[keep:]); err != nil {
		return truncated(err)
	}
	r.left -= int64(n)
	return nil
}

// grow adds n bytes to buf, and makes room for more of them behind a proof.
func (r *Reader) grow(n, more int) {
	size := r.before + n
	if room := max(size, min(size, int(r.sizes.proof))+more); cap(r.buf) < room {
		b := getBuffer(room)
		copy(b, r.buf[:r.before])
		putBuffer(r.buf)
		r.buf = b
	}
	r.buf = r.buf[:size]
}

// read returns the bytes of a range of a file, and the file's state when it was opened.
func (r *Reader) read(ctx context.Context, k int, from, to int64) ([]byte, ray.FileStat, error) {
	part, err := r.request(ctx, k, from, to)
	if err != nil {
		return nil, ray.FileStat{}, err
	}
	defer part.Body.Close() // read for its content
	if part.Size <= from {
		return nil, part.FileStat, nil
	}
	b := make([]byte, min(to, part.Size)-from)
	if _, err := io.ReadFull(part.Body, b); err != nil {
		return nil, part.FileStat, truncated(err)
	}
	return b, part.FileStat, nil
}

// request requests a range of a file. The body is at its first byte, if the file has it.
func (r *Reader) request(ctx context.Context, k int, from, to int64) (ray.FilePart, error) {
	part, err := r.files.Read(ctx, k, from, to)
	if err != nil || part.Size <= from {
		return part, err
	}
	if part.Offset > from {
		err = fmt.Errorf("read log: requested the bytes from %d on, got those from %d", from, part.Offset)
	} else if _, skip := io.CopyN(io.Discard, part.Body, from-part.Offset); skip != nil {
		err = truncated(skip)
	}
	if err != nil {
		_ = part.Body.Close()
	}
	return part, err
}

// errTruncated: a response has ended too early. The file may have been truncated meanwhile.
var errTruncated = errors.New("the response was truncated")

// truncated returns the error of a response that ended too early.
func truncated(err error) error {
	err = fmt.Errorf("%w: %w", errTruncated, err)
	return &ray.Error{Op: "read log", Code: http.StatusServiceUnavailable, Detail: err.Error(), Err: err}
}

// buffers are those that are used again, the smallest first. Smaller ones than the first are
// not worth it: most reads find nothing new.
var buffers = [...]struct {
	size int
	pool *sync.Pool
}{
	{maxPiece + ProofSize, &sync.Pool{}},
	{maxChunk/4 + ProofSize, &sync.Pool{}},
	{maxChunk + ProofSize, &sync.Pool{}},
}

// getBuffer returns a buffer for n bytes.
func getBuffer(n int) []byte {
	if n > 2*ProofSize {
		for _, class := range buffers {
			if n > class.size {
				continue
			}
			if b, ok := class.pool.Get().(*[]byte); ok {
				return *b
			}
			return make([]byte, class.size)
		}
	}
	return make([]byte, n)
}

// putBuffer returns a buffer.
func putBuffer(b []byte) {
	b = b[:cap(b)]
	for _, class := range buffers {
		if len(b) == class.size {
			class.pool.Put(&b)
		}
	}
}
