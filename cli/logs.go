package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

type logReader interface {
	JobLogs(ctx context.Context, id string) (io.ReadCloser, error)
}

// printLog prints a whole log as it is.
func printLog(ctx context.Context, from logReader, id string, out io.Writer) error {
	log, err := from.JobLogs(ctx, id)
	if err != nil {
		return err
	}
	defer log.Close()
	_, err = io.Copy(out, log)
	return err
}

// printEnd prints the last lines of a log.
func printEnd(ctx context.Context, from logReader, id string, lines int, out io.Writer) error {
	log, err := from.JobLogs(ctx, id)
	if err != nil {
		return err
	}
	defer log.Close()
	last, err := lastLines(log, lines)
	if err != nil {
		return err
	}
	for _, line := range last {
		if _, err := out.Write(line); err != nil {
			return err
		}
	}
	return nil
}

// lastLines reads to the end and gives the last n lines, newlines included.
func lastLines(r io.Reader, n int) ([][]byte, error) {
	b := bufio.NewReaderSize(r, 64<<10)
	var ring [][]byte
	next := 0 // the place of the oldest line in a full ring
	for {
		line, err := b.ReadBytes('\n')
		switch {
		case len(line) == 0 || n <= 0:
		case len(ring) < n:
			ring = append(ring, line)
		default:
			ring[next] = line
			next = (next + 1) % n
		}
		if errors.Is(err, io.EOF) {
			return append(ring[next:len(ring):len(ring)], ring[:next]...), nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the log: %w", err)
		}
	}
}

// countLines counts the lines of a log as a tail gives them: what stands
// between line ends, of which \r is one.
func countLines(r io.Reader) (int, error) {
	n, within := 0, false
	buf := make([]byte, 64<<10)
	for {
		got, err := r.Read(buf)
		for chunk := buf[:got]; len(chunk) > 0; {
			end := bytes.IndexAny(chunk, "\r\n")
			if end < 0 {
				end = len(chunk)
			}
			if end > 0 && !within {
				n++
			}
			within = end == len(chunk)
			chunk = chunk[min(end+1, len(chunk)):]
		}
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return 0, fmt.Errorf("read the log: %w", err)
		}
	}
}
