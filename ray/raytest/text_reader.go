package raytest

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// errNotUTF8 is Python's UnicodeDecodeError: what was decoded together with the invalid
// byte, up to 8192 bytes before it, is lost with it.
var errNotUTF8 = errors.New("not UTF-8")

// chunkSize is how many bytes Python's text files read at once.
const chunkSize = 8192

// textReader reads the lines of a growing file like Python in text mode with universal
// newlines: \r and \r\n become \n, and each time the end of the file is reached it counts
// as the end of the text, so that a \r there becomes \n immediately and an incomplete
// character is an error.
type textReader struct {
	// read returns up to max bytes of the file from off on; none at its end.
	read func(off int64, max int) []byte

	off     int64  // of the next byte to read
	partial []byte // an incomplete character
	cr      bool   // a \r that \n may follow
	decoded string // text not yet returned
}

// readline returns the next line with its \n, the rest of the file if it does not end
// with one, or "" at its end.
func (r *textReader) readline() (string, error) {
	var line strings.Builder
	for {
		if r.decoded == "" {
			more, err := r.readChunk()
			if err != nil {
				return "", err
			}
			if !more {
				return line.String(), nil
			}
			continue
		}
		if i := strings.IndexByte(r.decoded, '\n'); i >= 0 {
			line.WriteString(r.decoded[:i+1])
			r.decoded = r.decoded[i+1:]
			return line.String(), nil
		}
		line.WriteString(r.decoded)
		r.decoded = ""
	}
}

// readChunk decodes the next chunk and reports whether there was one.
func (r *textReader) readChunk() (bool, error) {
	chunk := r.read(r.off, chunkSize)
	r.off += int64(len(chunk))
	atEnd := len(chunk) == 0
	text, err := r.decode(chunk, atEnd)
	if err != nil {
		return false, err
	}
	if r.cr && (text != "" || atEnd) {
		text = "\r" + text
		r.cr = false
	}
	if strings.HasSuffix(text, "\r") && !atEnd {
		text = text[:len(text)-1]
		r.cr = true
	}
	text = strings.ReplaceAll(text, "\r\n", "\n")
	r.decoded = strings.ReplaceAll(text, "\r", "\n")
	return !atEnd || r.decoded != "", nil
}

func (r *textReader) decode(chunk []byte, final bool) (string, error) {
	b := append(r.partial, chunk...)
	n := len(b)
	for back := 1; back < utf8.UTFMax && back <= len(b); back++ {
		if utf8.RuneStart(b[len(b)-back]) {
			if !utf8.FullRune(b[len(b)-back:]) {
				n = len(b) - back
			}
			break
		}
	}
	if !utf8.Valid(b[:n]) || (final && n < len(b)) {
		return "", errNotUTF8
	}
	text := string(b[:n])
	r.partial = append([]byte(nil), b[n:]...)
	return text, nil
}

// batcher groups lines into batches, which become frames: 10 lines, or more than 20,000
// characters, or what there was at the end of the file.
type batcher struct {
	lines []string
	chars int
}

const (
	batchLines = 10
	batchChars = 20000
)

// add adds a line and reports whether the batch is full.
func (b *batcher) add(line string) bool {
	b.lines = append(b.lines, line)
	b.chars += utf8.RuneCountInString(line)
	return len(b.lines) >= batchLines || b.chars > batchChars
}

// take returns the batch as one text, and empties it.
func (b *batcher) take() string {
	s := strings.Join(b.lines, "")
	b.lines, b.chars = b.lines[:0], 0
	return s
}
