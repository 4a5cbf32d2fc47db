package rotation

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"raytap/ray"
)

// rotate runs a whole rotation of a kind, see model.begin.
func (m *model) rotate(kind int) {
	m.since = 0
	m.begin(kind)
	for len(m.pending) > 0 {
		m.advance()
	}
}

// readAll looks until the end of the log.
func (f *follower) readAll(t *testing.T) {
	t.Helper()
	for again := true; again; {
		var err error
		if again, err = f.look(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReaderFollows has the sequences of events which a reader that compares bytes alone, or
// names alone, does not follow. Nothing is lost in any of them, and no loss is announced.
func TestReaderFollows(t *testing.T) {
	for _, row := range []struct {
		name string
		style
		do func(*testing.T, *model, *follower)
	}{
		{"one line again and again, and a rotation between two looks", style{alike: true, keep: 5}, func(t *testing.T, m *model, f *follower) {
			m.write(300)
			f.readAll(t)
			m.write(100)
			m.rotate(0)
			m.write(350)
		}},
		{"a first look after three generations", style{keep: 5}, func(_ *testing.T, m *model, _ *follower) {
			for range 2 {
				m.write(100)
				m.rotate(0)
			}
			m.write(100)
		}},
		{"known while empty, and two rotations between looks", style{keep: 5}, func(t *testing.T, m *model, f *follower) {
			f.readAll(t)
			for range 2 {
				m.write(100)
				m.rotate(0)
			}
			m.write(100)
		}},
		{"mv under a writer that goes on", style{copied: true, keep: 5}, func(t *testing.T, m *model, f *follower) {
			for i := range 200 {
				m.write(1)
				if i == 50 {
					m.move(0, 1)
				}
				if i%10 == 0 {
					f.readAll(t)
				}
			}
		}},
		{"mv under a writer that goes on, of a log that Ray renames", style{keep: 5}, func(t *testing.T, m *model, f *follower) {
			for i := range 200 {
				m.write(1)
				if i == 50 {
					m.move(0, 1)
				}
				if i%10 == 0 {
					f.readAll(t)
				}
			}
		}},
		{"an empty generation in the chain", style{keep: 5}, func(t *testing.T, m *model, f *follower) {
			m.write(100)
			f.readAll(t)
			m.rotate(0)
			m.move(1, 2)
			m.move(0, 1)
			m.reopen()
			m.write(1)
			m.rotate(0)
			m.write(1)
		}},
		{"a copy as a backup, then a rename", style{copied: true, inPlace: true, keep: 5}, func(t *testing.T, m *model, f *follower) {
			m.write(100)
			f.readAll(t)
			m.rotate(1) // inPlace: a backup
			m.write(100)
			f.readAll(t)
			m.move(1, 2)
			m.move(0, 1)
			m.reopen()
			m.write(1)
		}},
		{"cp X X.1; : > X four times", style{copied: true, inPlace: true, keep: 5}, func(t *testing.T, m *model, f *follower) {
			for range 4 {
				for i := range 40 {
					m.write(1)
					if i%9 == 0 {
						f.readAll(t)
					}
				}
				m.rotate(0)
			}
			m.write(1)
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			m := newModel(row.style, nil)
			f := &follower{m: m}
			f.restart(Position{})
			row.do(t, m, f)
			f.readAll(t)
			if f.cursor != m.written || f.lost > 0 {
				t.Errorf("read %d of %d bytes, %d losses announced\n%s", f.cursor, m.written, f.lost, strings.Join(m.history, "\n"))
			}
		})
	}
}

// A worker that prints one line again and again through 30 rotations, looked at once each.
func TestReaderCountsIdenticalLines(t *testing.T) {
	m := newModel(style{alike: true, keep: 5}, nil)
	f := &follower{m: m}
	f.restart(Position{})
	for range 30 {
		m.write(150)
		f.readAll(t)
		m.write(184)
		m.rotate(0)
	}
	m.write(3)
	f.readAll(t)
	if f.cursor != m.written || f.lost > 0 {
		t.Errorf("read %d of %d bytes, %d losses announced", f.cursor, m.written, f.lost)
	}
}

func TestReaderAnnouncesWhatWasDeleted(t *testing.T) {
	m := newModel(style{keep: 2}, nil)
	f := &follower{m: m}
	f.restart(Position{})
	m.write(20)
	f.readAll(t)
	for range 4 {
		m.write(20)
		m.rotate(0)
	}
	m.write(20)
	f.readAll(t)
	if f.cursor != m.written || f.lost != 1 {
		t.Errorf("read up to %d of %d bytes, %d losses announced, want 1", f.cursor, m.written, f.lost)
	}
	m.out.text, m.out.origin, m.out.mtime = nil, nil, m.tick() // truncated without a copy
	m.write(3)
	f.readAll(t)
	if f.cursor != m.written || f.lost != 2 {
		t.Errorf("read up to %d of %d bytes, %d losses announced, want 2", f.cursor, m.written, f.lost)
	}
}

// counting counts the requests of a reader.
type counting struct {
	*model
	stats, reads int
}

func (c *counting) Stat(ctx context.Context, k int) (ray.FileStat, error) {
	c.stats++
	return c.model.Stat(ctx, k)
}

func (c *counting) Read(ctx context.Context, k int, from, to int64) (ray.FilePart, error) {
	c.reads++
	return c.model.Read(ctx, k, from, to)
}

func TestReaderCosts(t *testing.T) {
	c := &counting{model: newModel(style{keep: 5}, nil)}
	r := NewReader(c, false, Position{})
	next := func(wantBytes, stats, reads int) {
		t.Helper()
		c.stats, c.reads = 0, 0
		chunk, err := r.Next(t.Context())
		if len(chunk.Data) != wantBytes || wantBytes == 0 && !errors.Is(err, io.EOF) {
			t.Fatalf("%d bytes, want %d; %v", len(chunk.Data), wantBytes, err)
		}
		if c.stats != stats || c.reads != reads {
			t.Errorf("%d HEAD and %d GET, want %d and %d", c.stats, c.reads, stats, reads)
		}
	}
	c.write(10)
	next(70, 5, 1) // first sight: NAME, .1 and .2 before and .1 and .2 after the read
	next(0, 0, 1)  // silent
	next(0, 0, 1)
	c.write(10)
	next(70, 1, 1) // .1 only
	r = NewReader(c, false, r.Position(70))
	next(0, 1, 1) // a restart does not know NAME's ETag
	next(0, 0, 1)
}

func TestReaderReportsFailures(t *testing.T) {
	r := NewReader(failing{&ray.Error{Op: "read log", Code: 503}}, false, Position{Raw: 1})
	if _, err := r.Next(t.Context()); ray.Code(err) != 503 {
		t.Errorf("got %v, want 503", err)
	}
	r = NewReader(failing{errNotFound}, false, Position{})
	if _, err := r.Next(t.Context()); ray.Code(err) != 404 {
		t.Errorf("got %v, want 404", err)
	}
	m := newModel(style{keep: 2}, nil)
	m.write(10)
	r = NewReader(short{m}, false, Position{})
	if _, err := r.Next(t.Context()); ray.Code(err) != 503 {
		t.Errorf("got %v, want 503", err)
	}
}

type failing struct{ err error }

func (f failing) Stat(context.Context, int) (ray.FileStat, error) { return ray.FileStat{}, f.err }
func (f failing) Read(context.Context, int, int64, int64) (ray.FilePart, error) {
	return ray.FilePart{}, f.err
}

// short truncates bodies.
type short struct{ *model }

func (s short) Read(ctx context.Context, k int, from, to int64) (ray.FilePart, error) {
	p, err := s.model.Read(ctx, k, from, to)
	p.Body = io.NopCloser(bytes.NewReader(nil))
	return p, err
}

func TestValidatorWithoutETag(t *testing.T) {
	at := time.Unix(5, 0)
	a := fileValidator(ray.FileStat{Size: 5, Modified: at}, []byte("tick\n"))
	for name, b := range map[string]Validator{
		"size": fileValidator(ray.FileStat{Size: 6, Modified: at}, []byte("tick\n")),
		"time": fileValidator(ray.FileStat{Size: 5, Modified: at.Add(time.Second)}, []byte("tick\n")),
		"head": fileValidator(ray.FileStat{Size: 5, Modified: at}, []byte("tack\n")),
	} {
		if a == b {
			t.Errorf("another %s has the same validator", name)
		}
	}
}
