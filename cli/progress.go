package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"
)

// progress shows how far a command is, on one line of a terminal. Without a terminal it
// shows nothing. It is not safe for concurrent use.
type progress struct {
	to    io.Writer // nil: there is no terminal
	width int
	total int

	done  int
	name  string
	bytes int64
	shown time.Time
}

// progressInterval is the time between two states that are shown.
const progressInterval = 100 * time.Millisecond

func newProgress(console Console, total int) *progress {
	p := &progress{width: console.ErrWidth, total: total}
	if p.width > 0 {
		p.to = console.Err
	}
	return p
}

// file says which file is next: the n-th.
func (p *progress) file(n int, name string) {
	p.done, p.name = n-1, name
	p.show(p.shown.IsZero())
}

// reader returns a reader that counts what is read.
func (p *progress) reader(r io.Reader) io.Reader { return &progressReader{r, p} }

type progressReader struct {
	io.Reader
	p *progress
}

func (r *progressReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	r.p.bytes += int64(n)
	r.p.show(false)
	return n, err
}

// show writes the line, unless it was written a short time ago.
func (p *progress) show(now bool) {
	if p.to == nil || !now && time.Since(p.shown) < progressInterval {
		return
	}
	p.shown = time.Now()
	const cells = 20
	filled := cells * p.done / max(p.total, 1)
	line := fmt.Sprintf("[%s%s] %d of %d files, %s  %s", strings.Repeat("#", filled), strings.Repeat(".", cells-filled),
		p.done, p.total, formatBytes(float64(p.bytes)), printable(p.name, true))
	_, _ = io.WriteString(p.to, "\r\x1b[K"+runewidth.Truncate(line, p.width-1, "…"))
}

// end removes the line.
func (p *progress) end() {
	if p.to != nil {
		_, _ = io.WriteString(p.to, "\r\x1b[K")
	}
}
