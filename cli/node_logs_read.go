package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"raytap/ray"
	"raytap/shipper/rotation"
)

// logReaderByLines is a cluster whose head reads the last lines of a log file.
type logReaderByLines interface {
	HeadFile(ctx context.Context, nodeID, name string, lines int) (io.ReadCloser, error)
}

// generations are the files of one log, for a reader that follows rotations.
type generations struct {
	from nodeLogs
	log  nodeLog
}

// at calls read with the k-th generation. The newest one of a dead worker is moved to
// old/, its older ones stay (Ray 2.60.0).
func (g generations) at(k int, read func(ray.LogFile) error) error {
	f := g.log.newest()
	f.Name = f.Log
	if k > 0 {
		f.Name = fmt.Sprintf("%s.%d", f.Log, k)
	}
	err := read(f)
	if k == 0 && ray.Code(err) == http.StatusNotFound {
		f.Name = "old/" + f.Log
		if moved := read(f); ray.Code(moved) != http.StatusNotFound {
			return moved
		}
	}
	return err
}

// Stat returns the size and the ETag of a generation.
func (g generations) Stat(ctx context.Context, k int) (stat ray.FileStat, err error) {
	err = g.at(k, func(f ray.LogFile) (err error) {
		stat, err = g.from.LogFileStat(ctx, f)
		return err
	})
	return stat, err
}

// Read reads a part of a generation.
func (g generations) Read(ctx context.Context, k int, from, to int64) (part ray.FilePart, err error) {
	err = g.at(k, func(f ray.LogFile) (err error) {
		part, err = g.from.LogFile(ctx, f, from, to)
		return err
	})
	return part, err
}

// reader returns a reader of all generations, the oldest first.
func (g generations) reader() *rotation.Reader {
	return rotation.NewReader(g, g.log.newest().Source == ray.LogDriver, rotation.Position{})
}

// getLog copies a log to Out, byte by byte: its newest file, or all its generations.
func getLog(ctx context.Context, from nodeLogs, sel *logSelection, all bool, console Console) error {
	log, err := sel.oneLog(ctx, from, console)
	if err != nil {
		return err
	}
	if all && log.newest().AgentURL != "" {
		return copyGenerations(ctx, generations{from, log}.reader(), console)
	}
	files := log.generations[:1]
	if all {
		files = log.generations
	}
	for i := len(files) - 1; i >= 0; i-- {
		if err := copyFile(ctx, from, files[i], console.Out); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(ctx context.Context, from nodeLogs, f ray.LogFile, out io.Writer) error {
	part, err := from.LogFile(ctx, f, 0, 0)
	if err != nil {
		return err
	}
	defer part.Body.Close()
	_, err = io.Copy(out, part.Body)
	return err
}

// rotationPause is how long a reader waits for a rotation that is in progress.
const rotationPause = 200 * time.Millisecond

// copyGenerations copies a log up to its present end.
func copyGenerations(ctx context.Context, r *rotation.Reader, console Console) error {
	defer r.Close()
	for tries := 0; ; {
		chunk, err := r.Next(ctx)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, rotation.ErrRotating) && tries < 10:
			tries++
			if err := sleep(ctx, rotationPause); err != nil {
				return err
			}
			continue
		case err != nil:
			return err
		}
		tries = 0
		noteLost(chunk, console)
		if _, err := console.Out.Write(chunk.Data); err != nil {
			return err
		}
	}
}

func noteLost(chunk rotation.Chunk, console Console) {
	if chunk.Lost {
		console.infof("older lines are missing here: their files were deleted, or the log was replaced by another one")
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tailWindow is how much of a log's end is read first for its last lines, in bytes.
const tailWindow = 64 << 10

// tailLog prints the last lines of a log, over as many of its generations as it takes; by
// way of the head only those of its newest file.
func tailLog(ctx context.Context, from nodeLogs, sel *logSelection, lines int, console Console) error {
	log, err := sel.oneLog(ctx, from, console)
	if err != nil || lines == 0 {
		return err
	}
	f := log.newest()
	if f.AgentURL == "" {
		head, ok := from.(logReaderByLines)
		if !ok {
			return nil
		}
		body, err := head.HeadFile(ctx, f.NodeID, f.Name, lines)
		if err != nil {
			return err
		}
		defer body.Close()
		_, err = io.Copy(console.Out, body)
		return err
	}
	g := generations{from, log}
	text, err := g.lastLines(ctx, lines)
	for try := 1; errors.Is(err, rotation.ErrRotating) && try < 10; try++ {
		if err = sleep(ctx, rotationPause); err == nil {
			text, err = g.lastLines(ctx, lines)
		}
	}
	if err != nil {
		return err
	}
	_, err = console.Out.Write(text)
	return err
}

// lastLines returns the last n lines of a log, fewer if it has no more. The error is
// rotation.ErrRotating if the log was rotated meanwhile.
func (g generations) lastLines(ctx context.Context, n int) ([]byte, error) {
	older, err := g.etag(ctx, 1)
	if err != nil {
		return nil, err
	}
	var text []byte
	for k := 0; ; k++ {
		stat, err := g.Stat(ctx, k)
		switch {
		case k > 0 && ray.Code(err) == http.StatusNotFound:
			return text, g.unrotated(ctx, older)
		case err != nil:
			return nil, err
		}
		end, err := g.endOf(ctx, k, stat.Size, n)
		if err != nil {
			return nil, err
		}
		text = append(end, text...)
		if at := lastLinesOffset(text, n); at > 0 {
			if k > 0 {
				err = g.unrotated(ctx, older)
			}
			return text[at:], err
		}
	}
}

// etag returns what identifies a generation, "" if there is none.
func (g generations) etag(ctx context.Context, k int) (string, error) {
	stat, err := g.Stat(ctx, k)
	if ray.Code(err) == http.StatusNotFound {
		err = nil
	}
	return stat.ETag, err
}

// unrotated returns rotation.ErrRotating unless the generation before the newest one is
// still the one of this ETag.
func (g generations) unrotated(ctx context.Context, older string) error {
	if now, err := g.etag(ctx, 1); err != nil || now != older {
		return cmp.Or(err, rotation.ErrRotating)
	}
	return nil
}

// endOf returns the end of a generation with at least n lines, or all of it.
func (g generations) endOf(ctx context.Context, k int, size int64, n int) (text []byte, err error) {
	start := max(0, size-tailWindow)
	for window := int64(tailWindow); ; window *= 8 {
		err = g.at(k, func(f ray.LogFile) (err error) {
			text, err = readPart(ctx, g.from, f, start, size)
			return err
		})
		if err != nil || start == 0 || lastLinesOffset(text, n) > 0 {
			return text, err
		}
		if len(text) > maxHeldBytes {
			return nil, fmt.Errorf("the last %d lines of %s are larger than %s: use raytap logs get", n, g.log.newest().Log, formatBytes(maxHeldBytes))
		}
		start = max(0, size-window*8)
	}
}

// readPart reads the bytes [start,end) of a file.
func readPart(ctx context.Context, from nodeLogs, f ray.LogFile, start, end int64) ([]byte, error) {
	if end <= start {
		return nil, nil
	}
	part, err := from.LogFile(ctx, f, start, end)
	if err != nil {
		return nil, err
	}
	defer part.Body.Close()
	if _, err := io.CopyN(io.Discard, part.Body, max(0, start-part.Offset)); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(part.Body, end-start))
}

// lastLinesOffset returns where the last n lines of a text begin. A line ends with \n;
// the text's end is one, too. 0: at its beginning, or in front of it.
func lastLinesOffset(text []byte, n int) int {
	if n <= 0 {
		return len(text)
	}
	end := len(bytes.TrimSuffix(text, []byte("\n")))
	for ; n > 0; n-- {
		if end = bytes.LastIndexByte(text[:max(end, 0)], '\n'); end < 0 {
			return 0
		}
	}
	return end + 1
}

const (
	// followInterval is the time between two looks for new lines.
	followInterval = time.Second
	// maxFollowFailure is how long looks may fail before following ends.
	maxFollowFailure = time.Minute
)

// followLog prints a log, the oldest generation first, and then what is written to it,
// until ctx ends. last is the number of existing lines to print; negative: all.
func followLog(ctx context.Context, from nodeLogs, sel *logSelection, last int, console Console) error {
	log, err := sel.oneLog(ctx, from, console)
	if err != nil {
		return err
	}
	if f := log.newest(); f.AgentURL == "" {
		return fmt.Errorf("only by way of its node's agent can a log be followed: %w", f.AgentErr)
	}
	parent := ctx
	ctx, _, release := console.untilReaderGone(ctx)
	defer release()
	f := &logFollower{reader: generations{from, log}.reader(), last: last, console: console}
	err = f.run(ctx)
	if cause := context.Cause(ctx); cause != nil && parent.Err() == nil {
		return cause
	}
	return err
}

// logFollower prints a log that grows.
type logFollower struct {
	reader  *rotation.Reader
	console Console
	last    int    // existing lines to print; negative: what is read is printed
	held    []byte // the last existing lines
	failing time.Time
}

func (f *logFollower) run(ctx context.Context) error {
	defer f.reader.Close()
	for {
		chunk, err := f.reader.Next(ctx)
		switch {
		case err == nil:
			f.failing = time.Time{}
			noteLost(chunk, f.console)
			if err := f.print(chunk.Data); err != nil {
				return err
			}
			continue
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, io.EOF):
			f.failing = time.Time{}
			if err := f.flush(); err != nil {
				return err
			}
		default:
			if err := f.failed(err); err != nil {
				return err
			}
		}
		if err := sleep(ctx, followInterval); err != nil {
			return err
		}
	}
}

// print prints new lines, or holds them while only the last ones are wanted.
func (f *logFollower) print(data []byte) error {
	if f.last < 0 {
		_, err := f.console.Out.Write(data)
		return err
	}
	f.held = append(f.held, data...)
	f.held = f.held[lastLinesOffset(f.held, f.last):]
	if over := len(f.held) - maxHeldBytes; over > 0 {
		f.held = f.held[over:]
	}
	return nil
}

// flush prints the lines that were held when the end of the log is reached.
func (f *logFollower) flush() error {
	held := f.held
	f.held, f.last = nil, -1
	if len(held) == 0 {
		return nil
	}
	_, err := f.console.Out.Write(held)
	return err
}

// failed returns the error that ends following, or nil for one that may pass.
func (f *logFollower) failed(err error) error {
	passing := ray.IsTemporary(err) || errors.Is(err, rotation.ErrRotating) || ray.Code(err) == http.StatusNotFound
	switch {
	case !passing:
		return err
	case f.failing.IsZero():
		f.failing = time.Now()
		if !errors.Is(err, rotation.ErrRotating) {
			f.console.infof("%s; retrying", strings.TrimSuffix(ErrorMessage(err), "."))
		}
	case time.Since(f.failing) > maxFollowFailure:
		return err
	}
	return nil
}
