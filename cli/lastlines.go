package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// heldLines bounds what of a log's last lines is held in memory, in bytes, with
// what holding one costs.
const (
	heldLines = 16 << 20
	lineCost  = 64
)

// printEnd prints the last lines of a log, each with a newline. A line is what a
// tail takes for one: a run of bytes between line ends, of which \r is one, so
// that the states of a progress bar are lines, and empty ones are none. Memory is
// bounded: where the lines are longer than what may be held, the log is read a
// second time.
func printEnd(ctx context.Context, from logReader, id string, lines int, out io.Writer) error {
	w := bufio.NewWriterSize(out, 64<<10)
	read := func(do func(io.Reader) error) error {
		log, err := from.JobLogs(ctx, id)
		if err != nil {
			return err
		}
		defer log.Close()
		return do(log)
	}
	last := lastLines{most: lines}
	if err := read(last.read); err != nil {
		return err
	}
	if last.whole() {
		for _, line := range last.held {
			_, _ = w.Write(append(line, '\n')) // the writer remembers its error
		}
		return w.Flush()
	}
	if err := read(func(r io.Reader) error { return copyLines(w, r, last.total-lines, last.total) }); err != nil {
		return err
	}
	return w.Flush()
}

// eachLine reads r to its end and calls piece with each part of a line, in order,
// and end behind its last one. It stops at an error of either.
func eachLine(r io.Reader, piece func([]byte) error, end func() error) error {
	within := false
	buf := make([]byte, 64<<10)
	for {
		got, err := r.Read(buf)
		for chunk := buf[:got]; len(chunk) > 0; {
			n := bytes.IndexAny(chunk, "\r\n")
			ends := n >= 0
			if !ends {
				n = len(chunk)
			}
			if n > 0 {
				within = true
				if err := piece(chunk[:n]); err != nil {
					return err
				}
			}
			if ends && within {
				within = false
				if err := end(); err != nil {
					return err
				}
			}
			chunk = chunk[min(n+1, len(chunk)):]
		}
		switch {
		case errors.Is(err, io.EOF) && within:
			return end()
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read the log: %w", err)
		}
	}
}

// countLines counts the lines of a log.
func countLines(r io.Reader) (int, error) {
	n := 0
	err := eachLine(r, func([]byte) error { return nil }, func() error { n++; return nil })
	return n, err
}

// copyLines prints the lines of a log from the one with index first up to the one
// before end.
func copyLines(w *bufio.Writer, r io.Reader, first, end int) error {
	n := 0
	wanted := func() bool { return n >= first && n < end }
	return eachLine(r, func(b []byte) error {
		if !wanted() {
			return nil
		}
		_, err := w.Write(b)
		return err
	}, func() (err error) {
		if wanted() {
			err = w.WriteByte('\n')
		}
		n++
		return err
	})
}

// lastLines holds the last lines of what it reads, as long as they are short.
type lastLines struct {
	most  int // lines wanted
	total int // lines read
	held  [][]byte
	size  int // of held, with its cost

	line []byte // the one being read
	long bool   // its beginning was dropped
}

// whole reports whether all lines that are wanted are held.
func (l *lastLines) whole() bool { return len(l.held) >= min(l.most, l.total) }

// read reads to the end. It is called once.
func (l *lastLines) read(r io.Reader) error {
	return eachLine(r, l.add, l.end)
}

func (l *lastLines) add(b []byte) error {
	switch {
	case l.most <= 0 || l.long:
	case len(l.line)+len(b) > heldLines:
		l.line, l.long = nil, true
	default:
		l.line = append(l.line, b...)
	}
	return nil
}

func (l *lastLines) end() error {
	l.total++
	line, long := l.line, l.long
	l.line, l.long = nil, false
	switch {
	case l.most <= 0:
		return nil
	case long: // nothing before it can be of use either
		l.held, l.size = nil, 0
		return nil
	}
	l.held, l.size = append(l.held, line), l.size+cap(line)+lineCost
	for len(l.held) > l.most || l.size > heldLines && len(l.held) > 1 {
		oldest := l.held[0]
		l.held[0], l.held = nil, l.held[1:]
		l.size -= cap(oldest) + lineCost
		l.line = oldest[:0]
	}
	return nil
}
