package dashboard

import (
	"bytes"
	"io"
	"net/http"

	"raytap/ray"
)

// inBandMarker starts the error text that Ray 2.40 appends to a response of status 200
// when it could not read the rest of the log.
const inBandMarker = "[get_logs] Fetch log error: "

// maxInBandError is the maximum length of that text, in bytes; if more follows the
// marker, a job printed it.
const maxInBandError = 4 << 10

// inBandErrorReader returns the bytes of a log, and removes such a text from their end
// and returns it as an error. It holds back at most the marker and what follows it.
type inBandErrorReader struct {
	body   io.ReadCloser
	detail func(string) string // redacts and truncates a server's text

	buffered []byte // read from body
	consumed int    // bytes of buffered already returned
	bodyErr  error  // with which the body ended
}

func (r *inBandErrorReader) Read(p []byte) (int, error) {
	for {
		if n := copy(p, r.buffered[r.consumed:r.committed()]); n > 0 {
			r.consumed += n
			return n, nil
		}
		if len(p) == 0 || r.bodyErr != nil {
			return 0, r.bodyErr
		}
		r.fill()
	}
}

// committed returns how many bytes of buffered certainly belong to the log.
func (r *inBandErrorReader) committed() int {
	if r.bodyErr != nil {
		return len(r.buffered)
	}
	from := r.consumed
	for {
		i := bytes.Index(r.buffered[from:], []byte(inBandMarker))
		if i < 0 {
			return len(r.buffered) - partialMarker(r.buffered[from:])
		}
		if i += from; len(r.buffered)-i <= maxInBandError {
			return i
		}
		from = i + 1
	}
}

// partialMarker returns the length of the longest suffix of b that is a prefix of the
// marker.
func partialMarker(b []byte) int {
	for n := min(len(b), len(inBandMarker)-1); n > 0; n-- {
		if string(b[len(b)-n:]) == inBandMarker[:n] {
			return n
		}
	}
	return 0
}

// fill reads more, and at the end of the body decides whether a held marker is an error.
func (r *inBandErrorReader) fill() {
	r.buffered = append(r.buffered[:0], r.buffered[r.consumed:]...)
	r.consumed = 0
	if cap(r.buffered)-len(r.buffered) < maxInBandError {
		r.buffered = append(make([]byte, 0, len(r.buffered)+4*maxInBandError), r.buffered...)
	}
	n, err := r.body.Read(r.buffered[len(r.buffered):cap(r.buffered)])
	r.buffered = r.buffered[:len(r.buffered)+n]
	if err == io.EOF {
		if i := bytes.LastIndex(r.buffered, []byte(inBandMarker)); i >= 0 && len(r.buffered)-i <= maxInBandError {
			err = r.failure(string(r.buffered[i+len(inBandMarker):]))
			r.buffered = r.buffered[:i]
		}
	}
	r.bodyErr = err
}

func (r *inBandErrorReader) failure(text string) error {
	code := http.StatusInternalServerError
	if isNoFileMessage(text) {
		code = http.StatusNotFound
	}
	return &ray.Error{Op: opLines, Code: code, Status: http.StatusOK, Detail: r.detail(text)}
}

func (r *inBandErrorReader) Close() error { return r.body.Close() }
