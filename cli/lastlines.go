package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// maxHeldBytes bounds the memory for a log's last lines, including lineOverhead for
// each line.
const (
	maxHeldBytes = 16 << 20
	lineOverhead = 64
)

// printLastLines prints the last lines of a log, each with a newline. Lines are those
// of a tail: they end at \n or \r, so that each state of a progress bar is a line,
// and empty lines are skipped. Memory is bounded: if the lines are larger than
// maxHeldBytes, the log is read a second time.
func printLastLines(ctx context.Context, from logReader, id string, lines int, out io.Writer) error {
	w := bufio.NewWriterSize(out, 64<<10)
	read := func(do func(io.Reader) error) error {
		log, err := from.JobLogs(ctx, id)
		if err != nil {
			return err
		}
		defer log.Close()
		return do(log)
	}
	last := lastLines{want: lines}
	if err := read(last.read); err != nil {
		return err
	}
	if last.complete() {
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

// eachLine reads r to its end. It calls piece with each part of a line, in order, and
// end after the last part. It stops at the first error of either.
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

// countLines returns the number of lines of a log.
func countLines(r io.Reader) (int, error) {
	n := 0
	err := eachLine(r, func([]byte) error { return nil }, func() error { n++; return nil })
	return n, err
}

// copyLines prints the lines of a log from index first up to, but excluding, end.
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

// lastLines holds the last lines that it has read, up to maxHeldBytes.
type lastLines struct {
	want  int // number of lines to hold
	total int // number of lines read
	held  [][]byte
	size  int // bytes of held, with lineOverhead for each

	line []byte // the current line
	long bool   // the current line is too long to hold
}

// complete reports whether all wanted lines are held.
func (l *lastLines) complete() bool { return len(l.held) >= min(l.want, l.total) }

// read reads r to its end. It must be called only once.
func (l *lastLines) read(r io.Reader) error {
	return eachLine(r, l.add, l.end)
}

func (l *lastLines) add(b []byte) error {
	switch {
	case l.want <= 0 || l.long:
	case len(l.line)+len(b) > maxHeldBytes:
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
	case l.want <= 0:
		return nil
	case long: // the lines before it cannot be printed from memory either
		l.held, l.size = nil, 0
		return nil
	}
	l.held, l.size = append(l.held, line), l.size+cap(line)+lineOverhead
	for len(l.held) > l.want || l.size > maxHeldBytes && len(l.held) > 1 {
		oldest := l.held[0]
		l.held[0], l.held = nil, l.held[1:]
		l.size -= cap(oldest) + lineOverhead
		l.line = oldest[:0]
	}
	return nil
}
