package rotation

import (
	"errors"
	"io"
	"strings"
	"testing"
)

// An operator deletes older generations. What was not read is announced as lost, and the
// log is read on.
func TestReaderGoesOnAfterDeletions(t *testing.T) {
	for _, row := range []struct {
		name string
		style
		do   func(*testing.T, *model, *follower)
		lost int
	}{
		{"a middle one, before the first look", style{keep: 5}, func(_ *testing.T, m *model, _ *follower) {
			m.three()
			delete(m.names, 1)
		}, 1},
		{"a middle one that was not read", style{keep: 5}, func(t *testing.T, m *model, f *follower) {
			m.write(20)
			f.readAll(t)
			m.three()
			delete(m.names, 1)
		}, 1},
		{"a middle one that was being read", style{keep: 5}, func(t *testing.T, m *model, f *follower) {
			m.write(20)
			m.rotate(0)
			m.write(20)
			f.readAll(t)
			m.write(20)
			m.rotate(0)
			m.write(20)
			delete(m.names, 1)
		}, 1},
		{"a middle one that was read, while its successor is open", style{keep: 5}, func(t *testing.T, m *model, f *follower) {
			m.three()
			f.readAll(t)
			delete(m.names, 1)
			m.write(5)
		}, 0},
		{"the only one, while its successor is open", style{keep: 5}, func(t *testing.T, m *model, f *follower) {
			m.write(20)
			m.rotate(0)
			m.write(20)
			f.readAll(t)
			delete(m.names, 1)
			m.write(5)
		}, 0},
		{"the only one of a copied log", style{copied: true, keep: 5}, func(t *testing.T, m *model, f *follower) {
			m.write(20)
			f.readAll(t)
			m.rotate(2)
			m.write(30)
			f.readAll(t)
			delete(m.names, 1)
			m.write(5)
		}, 0},
		{"a middle one of a copied log", style{copied: true, keep: 5}, func(t *testing.T, m *model, f *follower) {
			for range 2 {
				m.write(20)
				f.readAll(t)
				m.rotate(2)
			}
			m.write(30)
			f.readAll(t)
			delete(m.names, 1)
			m.write(5)
		}, 0},
	} {
		for _, restart := range []bool{false, true} {
			t.Run(row.name, func(t *testing.T) {
				m := newModel(row.style, nil)
				f := &follower{m: m}
				f.restart(Position{})
				row.do(t, m, f)
				f.settle(t, restart)
				for range 3 { // and through the rotations that follow
					m.write(7)
					f.settle(t, restart)
					m.rotate(map[bool]int{false: 0, true: 2}[row.copied])
					m.write(9)
					f.settle(t, restart)
				}
				if f.cursor != m.written || f.lost != row.lost {
					t.Errorf("read up to %d of %d bytes, %d losses announced, want %d\n%s", f.cursor, m.written, f.lost, row.lost, strings.Join(m.history, "\n"))
				}
			})
		}
	}
}

// three writes two older generations and an open one.
func (m *model) three() {
	for range 2 {
		m.write(20)
		m.rotate(0)
	}
	m.write(20)
}

// settle looks until the end of the log, at most three times. restart: each look has a
// reader of its own, unless the one before has found names moving.
func (f *follower) settle(t *testing.T, restart bool) {
	t.Helper()
	for range 3 {
		err := f.toEnd(t)
		if errors.Is(err, io.EOF) && restart {
			f.restart(f.r.Position(0))
		}
		if errors.Is(err, io.EOF) {
			return
		}
	}
	t.Errorf("three looks have not reached the end\n%s", strings.Join(f.m.history, "\n"))
	t.FailNow()
}

// toEnd reads until an error, which it returns.
func (f *follower) toEnd(t *testing.T) error {
	t.Helper()
	for {
		again, err := f.look()
		if err != nil {
			t.Fatal(err)
		}
		if !again {
			return f.err
		}
	}
}

// A caller that reads a partial line again in each look goes on, too.
func TestReaderGoesOnAfterADeletionWithinALine(t *testing.T) {
	m := newModel(style{keep: 5}, nil)
	f := &follower{m: m}
	f.restart(Position{})
	m.write(3)
	m.half()
	line := int64(3 * 7)
	if err := f.toEnd(t); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	m.rotate(0)
	m.three()
	delete(m.names, 2)
	at := f.r.Position(0)
	at.Raw, at.Proof = line, sumOf(m.names[3].text[line-12:line])
	for range 3 {
		f.r.Rewind(at)
		f.cursor = int(line)
		for {
			again, err := f.look()
			if err != nil {
				t.Fatal(err)
			}
			if !again {
				break
			}
		}
		if errors.Is(f.err, io.EOF) {
			break
		}
	}
	if f.cursor != m.written || f.lost != 1 {
		t.Errorf("read up to %d of %d bytes, %d losses announced, want 1: %v", f.cursor, m.written, f.lost, f.err)
	}
}

// half writes a part of a line.
func (m *model) half() {
	for _, c := range []byte("half") {
		m.out.text = append(m.out.text, c)
		m.out.origin = append(m.out.origin, m.written)
		m.written++
	}
	m.out.mtime = m.tick()
}
