package rotation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"raytap/ray"
)

// inode is a file. origin says which byte of all that was written each of its bytes is: the
// model knows it even where all lines are alike.
type inode struct {
	text   []byte
	origin []int
	mtime  int64
}

// style is how a log is written and rotated.
type style struct {
	copied, alike, noETag bool
	inPlace               bool // copied to .1 in place, without older generations
	keep                  int  // numbered generations
}

// model is a directory with one log, its writer and a reader of it. Whenever the reader
// sends a request, the program may do something to the directory first.
type model struct {
	style
	names   map[int]*inode
	out     *inode // the writer's
	clock   int64
	written int
	pending []func() // the rest of a rotation
	program []byte
	r       *Reader

	since   int // rotations that were begun since the reader has seen the end
	before  int // the size of the generation before, for copied logs whose lines are alike
	origin  []int
	history []string
}

func newModel(s style, program []byte) *model {
	m := &model{style: s, names: map[int]*inode{}, program: program}
	m.reopen()
	return m
}

func (m *model) note(format string, a ...any) {
	m.history = append(m.history, fmt.Sprintf(format, a...))
}

func (m *model) tick() int64 { m.clock++; return m.clock * 1e6 }

func (m *model) reopen() {
	m.out = &inode{mtime: m.tick()}
	m.names[0] = m.out
}

// write appends lines to the file that the writer has open.
func (m *model) write(n int) {
	if m.copied && m.alike && m.since > 0 && len(m.out.text)+8*n >= m.before {
		return // the one case that cannot be told apart: see the package's Reader
	}
	for range n {
		line := []byte("tick\n")
		if !m.alike {
			line = fmt.Appendf(nil, "%06d\n", m.written)
		}
		for _, c := range line {
			m.out.text = append(m.out.text, c)
			m.out.origin = append(m.out.origin, m.written)
			m.written++
		}
	}
	m.out.mtime = m.tick()
	m.note("write %d lines, now %d bytes", n, m.written)
}

// shift queues the renames that make room for a new .1.
func (m *model) shift() {
	for k := m.keep - 1; k >= 1; k-- {
		if m.names[k] != nil {
			m.pending = append(m.pending, func() { m.move(k, k+1) })
		}
	}
}

func (m *model) move(from, to int) {
	m.note("rename %d to %d", from, to)
	m.names[to] = m.names[from]
	delete(m.names, from)
}

func (m *model) begin(what int) {
	x := m.names[0]
	if len(m.pending) > 0 || x == nil || x != m.out || len(x.text) == 0 {
		m.advance()
		return
	}
	if m.copied && m.alike && (m.since > 0 || len(x.text) < 32) {
		return
	}
	if m.alike && m.r.pos.After == 0 && m.since >= m.keep-1 {
		return // nothing shows that the first generation was deleted
	}
	m.before = len(x.text)
	if m.inPlace {
		what = 3 + what%2
	} else if what >= 3 {
		what = 2
	}
	switch {
	case what == 0: // by rename, as Ray's own rotation
		m.shift()
		m.pending = append(m.pending, func() { m.move(0, 1) }, m.reopen)
	case what == 1: // mv, and the writer goes on for a while
		m.shift()
		m.pending = append(m.pending, func() { m.move(0, 1) },
			func() { m.write(2) }, func() {}, func() { m.write(1) }, func() {}, m.reopen)
	case !m.copied:
		return
	case what == 2: // logrotate's copytruncate
		m.shift()
		m.copy(true)
	case what == 3: // cp X X.1; : > X
		m.copy(true)
	default: // a copy as a backup
		m.copy(false)
		return
	}
	m.since++
	if m.alike && what != 3 {
		// Where the content does not show it, a look within the microseconds of the renames would need a
		// second request for the names that may be missing.
		for n := len(m.pending); n > 0 && (m.names[0] == m.out || what == 2 && n > 2); n-- {
			m.advance()
		}
	}
	m.note("begin rotation %d", what)
	m.advance()
}

// copy queues a copy to .1 in two pieces, and the truncation if it is one.
func (m *model) copy(truncate bool) {
	m.pending = append(m.pending, func() {
		if m.r.pos == (Position{}) {
			return // at first sight, a copy that is not whole yet cannot be told from a whole one
		}
		half := 1 + bytes.LastIndexByte(m.out.text[:len(m.out.text)/2], '\n')
		m.put(m.out.text[:half], m.out.origin[:half])
	}, func() {
		m.put(m.out.text, m.out.origin)
		if truncate { // at once, so that nothing is lost between the two
			m.out.text, m.out.origin, m.out.mtime = nil, nil, m.tick()
			m.note("truncate")
		}
	})
}

// put overwrites .1 in place.
func (m *model) put(text []byte, origin []int) {
	f := m.names[1]
	if f == nil {
		f = &inode{}
		m.names[1] = f
	}
	f.text, f.origin, f.mtime = bytes.Clone(text), slices.Clone(origin), m.tick()
	m.note("copy %d bytes to .1", len(text))
}

func (m *model) advance() {
	if len(m.pending) > 0 {
		next := m.pending[0]
		m.pending = m.pending[1:]
		next()
	}
}

func (m *model) next() byte {
	if len(m.program) == 0 {
		return 255
	}
	b := m.program[0]
	m.program = m.program[1:]
	return b
}

// act does what a byte of the program says.
func (m *model) act(b byte) {
	switch {
	case b < 90:
		m.write(1 + int(b%9))
	case b < 150:
		m.advance()
	case b < 175:
		m.begin(int(b) % 5)
	}
}

// disturb may change the directory between two requests.
func (m *model) disturb() {
	if b := m.next(); b < 100 {
		m.act(b * 2)
	}
}

func (m *model) stat(f *inode) ray.FileStat {
	st := ray.FileStat{Size: int64(len(f.text)), Modified: time.Unix(0, f.mtime)}
	if !m.noETag {
		st.ETag = fmt.Sprintf("%x-%x", f.mtime, len(f.text))
	}
	return st
}

var errNotFound = &ray.Error{Op: "test", Code: 404}

func (m *model) Stat(_ context.Context, k int) (ray.FileStat, error) {
	m.disturb()
	f := m.names[k]
	if f == nil {
		m.note("  stat %d: 404", k)
		return ray.FileStat{}, errNotFound
	}
	m.note("  stat %d: %d bytes of %x", k, len(f.text), f.mtime/1e6)
	return m.stat(f), nil
}

func (m *model) Read(_ context.Context, k int, from, to int64) (ray.FilePart, error) {
	m.disturb()
	f := m.names[k]
	if f == nil {
		m.note("  read %d: 404", k)
		return ray.FilePart{}, errNotFound
	}
	size := int64(len(f.text))
	m.note("  read %d [%d,%d): %d bytes of %x", k, from, to, size, f.mtime/1e6)
	if from >= size {
		return ray.FilePart{Body: io.NopCloser(bytes.NewReader(nil)), Offset: from, FileStat: ray.FileStat{Size: size}}, nil
	}
	isCheck := to-from <= testSizes(m.copied).proof
	return ray.FilePart{Body: &body{m, f, from, min(to, size), isCheck}, Offset: from, FileStat: m.stat(f)}, nil
}

// body is the response to a read. It has the bytes that the file has when they are sent, not
// when it was opened.
type body struct {
	m       *model
	f       *inode
	at, end int64
	isCheck bool // of bytes that were read before
}

func (b *body) Read(p []byte) (int, error) {
	if b.at >= b.end {
		return 0, io.EOF
	}
	b.m.disturb()
	end := min(b.end, int64(len(b.f.text)), b.at+int64(len(p)))
	if end <= b.at {
		b.m.note("  body ends at %d", b.at)
		return 0, io.ErrUnexpectedEOF
	}
	if !b.isCheck {
		b.m.origin = append(b.m.origin, b.f.origin[b.at:end]...)
	}
	n := copy(p, b.f.text[b.at:end])
	b.at = end
	return n, nil
}

func (b *body) Close() error { return nil }

// has reports whether a byte is in a file.
func (m *model) has(origin int) bool {
	for _, f := range m.names {
		if slices.Contains(f.origin, origin) {
			return true
		}
	}
	return false
}

// testSizes are as sizesFor has them, but small.
func testSizes(copied bool) sizes {
	if copied {
		return sizes{proof: 12, chunk: 64, span: 160}
	}
	return sizes{proof: 12, chunk: 24, span: 160}
}

// follower is a reader of a model, and what it must have seen.
type follower struct {
	m      *model
	r      *Reader
	cursor int // the next byte to be read
	begun  bool
	lost   int
	err    error // of the last look
}

func (f *follower) restart(at Position) {
	f.r = NewReader(f.m, f.m.copied, at)
	f.r.sizes = testSizes(f.m.copied)
	f.m.r = f.r
}

// look calls Next once, and checks what it returns. again: there may be more.
func (f *follower) look() (again bool, err error) {
	m := f.m
	for (f.r.stuck != 0 || f.r.small != 0) && len(m.pending) > 0 { // no rotation lasts from one look to the next
		m.advance()
	}
	since := m.since
	c, err := f.r.Next(context.Background())
	f.err = err
	m.note("look: %d bytes, lost %v, new %v, %v %+v", len(c.Data), c.Lost, c.NewGeneration, err, f.r.pos)
	if err != nil {
		if errors.Is(err, io.EOF) {
			if len(m.pending) == 0 && m.since == since && f.r.at == 0 && f.cursor == m.written {
				m.since = 0
			}
			return false, nil
		}
		if errors.Is(err, ErrRotating) || ray.Code(err) == 404 || errors.Is(err, errTruncated) {
			return false, nil
		}
		return false, err
	}
	origin := m.origin[len(m.origin)-len(c.Data):]
	first := origin[0]
	for i, o := range origin {
		if o != first+i {
			return false, fmt.Errorf("data of several pieces: byte %d is %d, not %d", i, o, first+i)
		}
	}
	switch {
	case first < f.cursor:
		return false, fmt.Errorf("%d bytes came twice, from %d on", f.cursor-first, first)
	case first > f.cursor:
		if f.begun && !c.Lost {
			return false, fmt.Errorf("%d bytes from %d on are missing, and no loss was announced", first-f.cursor, f.cursor)
		}
		for o := f.cursor; o < first; o++ {
			if m.has(o) && !m.alike { // where the content does not show it, nothing comes twice, and the loss is announced
				return false, fmt.Errorf("byte %d was skipped, but it is still there", o)
			}
		}
	}
	if c.Lost {
		f.lost++
	}
	f.cursor, f.begun = first+len(c.Data), true
	b := m.next()
	if b >= 25 && b < 50 {
		f.r.Close()
		m.note("close")
	}
	if b < 25 { // killed: it starts again at one of the positions
		i := 1 + bytes.LastIndexByte(c.Data[:int(b)*len(c.Data)/24], '\n')
		f.cursor = first + i
		at := f.r.Position(i)
		if i == 0 && at.Raw == 0 && at.After == 0 {
			f.begun = false
		}
		m.note("restart %d bytes after %d: %+v", i, first, at)
		f.restart(at)
	}
	return true, nil
}

func run(s style, program []byte) (f *follower, err error) {
	m := newModel(s, program)
	f = &follower{m: m}
	f.restart(Position{})
	for len(m.program) > 0 {
		b := m.next()
		if b < 175 {
			m.act(b)
			continue
		}
		for again := true; again; {
			if again, err = f.look(); err != nil {
				return f, err
			}
		}
	}
	for len(m.pending) > 0 {
		m.advance()
	}
	for range 3 {
		for again := true; again; {
			if again, err = f.look(); err != nil {
				return f, err
			}
		}
	}
	for o := f.cursor; o < m.written; o++ {
		if m.has(o) && !(m.alike && f.r.lost) { // a loss is announced with the next data
			return f, fmt.Errorf("byte %d is there, but was not read: %d of %d", o, f.cursor, m.written)
		}
	}
	return f, nil
}

func styleOf(b byte) style {
	return style{copied: b&1 != 0, alike: b&2 != 0, noETag: b&12 == 12, keep: 2 + int(b>>4)%4, inPlace: b&1 != 0 && b&128 != 0}
}

// FuzzReader checks the law of a Reader: what it returns is what was written, without what
// was deleted before it looked; each loss is announced, and nothing comes twice.
func FuzzReader(f *testing.F) {
	f.Fuzz(func(t *testing.T, kind byte, program []byte) {
		if len(program) > 2000 {
			t.Skip()
		}
		if f, err := run(styleOf(kind), program); err != nil {
			for _, h := range f.m.history {
				t.Log(h)
			}
			t.Fatalf("%+v: %v", styleOf(kind), err)
		}
	})
}
