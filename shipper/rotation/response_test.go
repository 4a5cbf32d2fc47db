package rotation

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"raytap/ray"
)

// With one request, several Nexts return what it reads: of a log that is renamed, they are
// confirmed once, of a copied log each.
func TestReaderReadsSeveralChunksOfOneResponse(t *testing.T) {
	for _, row := range []struct {
		name         string
		copied       bool
		chunks       int // of 140 bytes
		stats, reads int
	}{
		{"renamed", false, 6, 5, 1},
		{"copied", true, 3, 7, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := &counting{model: newModel(style{keep: 5, copied: row.copied}, nil)}
			r := NewReader(c, row.copied, Position{})
			r.sizes = testSizes(row.copied)
			c.r = r
			c.write(20)
			chunks := 0
			for r.pos.Raw < 140 {
				if _, err := r.Next(t.Context()); err != nil {
					t.Fatal(err)
				}
				chunks++
			}
			if chunks != row.chunks || c.reads != row.reads || c.stats != row.stats {
				t.Errorf("%d chunks by %d GET and %d HEAD, want %d, %d and %d", chunks, c.reads, c.stats, row.chunks, row.reads, row.stats)
			}
			if r.body != nil {
				t.Error("the response was read to its end, and is still open")
			}
		})
	}
}

// A response is not read on after Close, nor after its caller took long: the log may be
// another one by now.
func TestReaderChecksTheLogAgainAfterAPause(t *testing.T) {
	for name, pause := range map[string]func(*Reader){
		"close":    (*Reader).Close,
		"a second": func(*Reader) { time.Sleep(maxHeld + time.Nanosecond) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newModel(style{keep: 5}, nil)
				f := &follower{m: m}
				f.restart(Position{})
				m.write(10)
				if _, err := f.look(); err != nil {
					t.Fatal(err)
				}
				m.out.text, m.out.origin, m.out.mtime = nil, nil, m.tick() // truncated, without a copy
				m.write(20)
				pause(f.r)
				f.readAll(t)
				if f.cursor != m.written || f.lost != 1 {
					t.Errorf("read up to %d of %d bytes, %d losses announced, want 1", f.cursor, m.written, f.lost)
				}
			})
		})
	}
}

// A response that is cut off is requested again, from the bytes that were returned on.
func TestReaderAsksAgainWhereAResponseEndsEarly(t *testing.T) {
	m := newModel(style{keep: 5}, nil)
	m.write(20)
	cuts := &cutting{model: m, after: 40}
	r := NewReader(cuts, false, Position{})
	r.sizes = testSizes(false)
	m.r = r
	var got []byte
	for {
		c, err := r.Next(t.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, c.Data...)
	}
	if !bytes.Equal(got, m.out.text) {
		t.Errorf("got %q, want %q", got, m.out.text)
	}
}

// cutting ends each body after so many bytes.
type cutting struct {
	*model
	after int64
}

func (c *cutting) Read(ctx context.Context, k int, from, to int64) (ray.FilePart, error) {
	part, err := c.model.Read(ctx, k, from, to)
	part.Body = io.NopCloser(io.LimitReader(part.Body, c.after))
	return part, err
}

// static is one log in memory, which is not rotated.
type static []byte

func (s static) Stat(_ context.Context, k int) (ray.FileStat, error) {
	if k > 0 {
		return ray.FileStat{}, errNotFound
	}
	return ray.FileStat{Size: int64(len(s)), ETag: "1"}, nil
}

func (s static) Read(_ context.Context, k int, from, to int64) (ray.FilePart, error) {
	if k > 0 {
		return ray.FilePart{}, errNotFound
	}
	return ray.FilePart{
		Body: io.NopCloser(bytes.NewReader(s[from:min(to, int64(len(s)))])), Offset: from,
		FileStat: ray.FileStat{Size: int64(len(s)), ETag: "1"},
	}, nil
}

// BenchmarkReader reads 64 MiB; the figures are of a MiB.
func BenchmarkReader(b *testing.B) {
	log := static(bytes.Repeat([]byte("a line of a log, again and again\n"), 64<<20/33))
	for name, copied := range map[string]bool{"renamed": false, "copied": true} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(1 << 20)
			r := NewReader(log, copied, Position{})
			defer r.Close()
			for range b.N {
				for n := 0; n < 1<<20; {
					chunk, err := r.Next(b.Context())
					if err != nil {
						r = NewReader(log, copied, Position{})
						continue
					}
					n += len(chunk.Data)
				}
			}
		})
	}
}
