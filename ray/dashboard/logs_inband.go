package dashboard

import (
	"bytes"
	"io"
	"net/http"

	"raytap/ray"
)

// inBandMark begins the text by which Ray 2.40 says, at the end of an answer of
// status 200, that it could not read on.
const inBandMark = "[get_logs] Fetch log error: "

// inBandMax is how long that text may be, in bytes; more after the mark means
// that a job printed it.
const inBandMax = 4 << 10

// inBand gives a log's bytes and takes that text out of their end, as an error.
// It holds back at most the mark and what follows it.
type inBand struct {
	body   io.ReadCloser
	detail func(string) string // bounds a server's text

	held  []byte // read, and not given yet
	given int    // of held
	end   error  // what the body ended with
}

func (r *inBand) Read(p []byte) (int, error) {
	for {
		if n := copy(p, r.held[r.given:r.safe()]); n > 0 {
			r.given += n
			return n, nil
		}
		if len(p) == 0 || r.end != nil {
			return 0, r.end
		}
		r.fill()
	}
}

// safe tells how much of held is the log's for sure.
func (r *inBand) safe() int {
	if r.end != nil {
		return len(r.held)
	}
	from := r.given
	for {
		i := bytes.Index(r.held[from:], []byte(inBandMark))
		if i < 0 {
			return len(r.held) - begun(r.held[from:])
		}
		if i += from; len(r.held)-i <= inBandMax {
			return i
		}
		from = i + 1
	}
}

// begun is the length of the longest end of b that can begin the mark.
func begun(b []byte) int {
	for n := min(len(b), len(inBandMark)-1); n > 0; n-- {
		if string(b[len(b)-n:]) == inBandMark[:n] {
			return n
		}
	}
	return 0
}

// fill reads more, and at the body's end decides what the held mark was.
func (r *inBand) fill() {
	r.held = append(r.held[:0], r.held[r.given:]...)
	r.given = 0
	if cap(r.held)-len(r.held) < inBandMax {
		r.held = append(make([]byte, 0, len(r.held)+4*inBandMax), r.held...)
	}
	n, err := r.body.Read(r.held[len(r.held):cap(r.held)])
	r.held = r.held[:len(r.held)+n]
	if err == io.EOF {
		if i := bytes.LastIndex(r.held, []byte(inBandMark)); i >= 0 && len(r.held)-i <= inBandMax {
			err = r.failure(string(r.held[i+len(inBandMark):]))
			r.held = r.held[:i]
		}
	}
	r.end = err
}

func (r *inBand) failure(text string) error {
	code := http.StatusInternalServerError
	if saysNoFile(text) {
		code = http.StatusNotFound
	}
	return &ray.Error{Op: opLines, Code: code, Status: http.StatusOK, Detail: r.detail(text)}
}

func (r *inBand) Close() error { return r.body.Close() }
