package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"time"
)

// This file reads a bbolt database without bbolt: that panics on a damaged file,
// in goroutines of its own too, where nobody can catch it, and loops for ever on
// a page that refers to itself; and it cannot read a file that another process
// writes. So a file is read by this before it is given to bbolt.
//
// The format is that of bbolt 1.3 to 1.5, version 2: pages of pageSize, the first
// two of which are metas of which the newer valid one holds; numbers in the byte
// order of the machine.

const (
	pageHeader   = 16
	metaSize     = 56 // before its checksum
	boltMagic    = 0xED0CDAED
	boltVersion  = 2
	branchPage   = 0x01
	leafPage     = 0x02
	bucketLeaf   = 0x01
	element      = 16 // bytes, of branch and leaf pages alike
	bucketHeader = 16
)

// meta is what a meta page says.
type meta struct {
	root, pages, tx uint64 // pages: how many the file has in use
}

var errNoDatabase = errors.New("it holds no positions of raytap")

// readMeta returns the meta that holds.
func readMeta(b []byte) (m meta, err error) {
	err = errNoDatabase
	for i := range 2 {
		if len(b) < (i+1)*pageSize {
			break
		}
		p := b[i*pageSize+pageHeader:]
		if binary.NativeEndian.Uint32(p) != boltMagic {
			continue
		}
		sum := fnv.New64a()
		sum.Write(p[:metaSize]) // a hash never fails
		switch {
		case sum.Sum64() != binary.NativeEndian.Uint64(p[metaSize:]):
			if err == errNoDatabase {
				err = corrupt("page %d has a wrong checksum", i)
			}
			continue
		case binary.NativeEndian.Uint32(p[4:]) != boltVersion || binary.NativeEndian.Uint32(p[8:]) != pageSize:
			err = corrupt("it is a database of another kind")
			continue
		}
		found := meta{
			root: binary.NativeEndian.Uint64(p[16:]), pages: binary.NativeEndian.Uint64(p[40:]), tx: binary.NativeEndian.Uint64(p[48:]),
		}
		if m.pages == 0 || found.tx > m.tx {
			m = found
		}
	}
	if m.pages > 0 {
		return m, nil
	}
	text := bytes.Trim(b[:min(len(b), pageSize)], "\x00 \t\r\n")
	switch {
	case err == errNoDatabase && bytes.HasPrefix(text, []byte("{")):
		err = fmt.Errorf("%w (it is JSON)", err)
	case err == errNoDatabase && len(text) == 0, len(b) < 2*pageSize && bytes.Contains(b, binary.NativeEndian.AppendUint32(nil, boltMagic)):
		err = corrupt("its first pages are gone")
	}
	return m, err
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w (%s)", errCorrupt, fmt.Sprintf(format, args...))
}

var errCorrupt = errors.New("it is corrupt")

// readDatabase visits all keys of all buckets of a database. What it has read in
// full without an error, bbolt can read.
func readDatabase(b []byte, visit func(bucket string, key, value []byte) error) error {
	m, err := readMeta(b)
	if err != nil {
		return err
	}
	if m.pages > uint64(len(b))/pageSize {
		return corrupt("it was cut: it has %d of %d bytes", len(b), m.pages*pageSize)
	}
	r := pageReader{b: b[:m.pages*pageSize], seen: make([]bool, m.pages)}
	return r.page(m.root, func(flags uint32, name, value []byte) error {
		if flags != bucketLeaf || len(value) < bucketHeader {
			return corrupt("%q is no bucket", name)
		}
		leaf := func(flags uint32, key, value []byte) error {
			if flags != 0 {
				return corrupt("bucket %s has a bucket", name)
			}
			return visit(string(name), key, value)
		}
		root := binary.NativeEndian.Uint64(value)
		if root == 0 { // its page stands here
			return r.elements(value[bucketHeader:], nil, leaf)
		}
		return r.page(root, leaf)
	})
}

// pageReader walks pages, each at most once.
type pageReader struct {
	b    []byte
	seen []bool
}

type leafVisit func(flags uint32, key, value []byte) error

// page walks a page and those below it, whose keys start with the one given.
func (r *pageReader) page(id uint64, visit leafVisit) error { return r.below(id, nil, visit) }

func (r *pageReader) below(id uint64, first []byte, visit leafVisit) error {
	if id < 2 || id >= uint64(len(r.seen)) {
		return corrupt("there is no page %d", id)
	}
	p := r.b[id*pageSize:]
	overflow := uint64(binary.NativeEndian.Uint32(p[12:]))
	if overflow >= uint64(len(r.seen))-id {
		return corrupt("page %d is longer than the file", id)
	}
	for i := id; i <= id+overflow; i++ {
		if r.seen[i] {
			return corrupt("page %d is referred to twice", i)
		}
		r.seen[i] = true
	}
	if got := binary.NativeEndian.Uint64(p); got != id {
		return corrupt("page %d calls itself %d", id, got)
	}
	return r.elements(p[:(overflow+1)*pageSize], first, visit)
}

// elements walks what a page holds: keys in order.
func (r *pageReader) elements(p, first []byte, visit leafVisit) error {
	if len(p) < pageHeader {
		return corrupt("a page without a header")
	}
	kind, count := binary.NativeEndian.Uint16(p[8:]), int(binary.NativeEndian.Uint16(p[10:]))
	if kind != branchPage && kind != leafPage || kind == branchPage && count == 0 {
		return corrupt("a page of kind %d with %d elements", kind, count)
	}
	if len(p) < pageHeader+count*element {
		return corrupt("a page of %d bytes with %d elements", len(p), count)
	}
	var last []byte
	for i := range count {
		e := p[pageHeader+i*element:]
		number := func(at int) uint64 { return uint64(binary.NativeEndian.Uint32(e[at:])) }
		flags, pos, ksize, vsize := number(0), number(4), number(8), number(12)
		if kind == branchPage {
			flags, pos, ksize, vsize = 0, number(0), number(4), 0
		}
		if pos < uint64(element) || ksize == 0 || pos+ksize+vsize > uint64(len(e)) {
			return corrupt("a key outside its page")
		}
		key := e[pos : pos+ksize]
		if i > 0 && bytes.Compare(last, key) >= 0 || i == 0 && first != nil && bytes.Compare(first, key) > 0 {
			return corrupt("keys are out of order")
		}
		last = key
		var err error
		if kind == branchPage {
			err = r.below(binary.NativeEndian.Uint64(e[8:]), key, visit)
		} else {
			err = visit(uint32(flags), key, e[pos+ksize:pos+ksize+vsize])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

const (
	// readTries is how often a file is read that is written meanwhile.
	readTries = 50
	readPause = 20 * time.Millisecond
)

// snapshotOf reads a file that another process may be writing. It takes no lock,
// which would keep a raytap that starts from its file. A transaction never
// writes to a page that the meta before it refers to; so what was read between
// two looks at the metas that found them the same is whole.
func snapshotOf(path string, visit func(bucket string, key, value []byte) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() // it was read only
	if info, err := f.Stat(); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file (%s)", path, info.Mode().Type())
	}
	metas := func() ([]byte, error) {
		b := make([]byte, 2*pageSize)
		n, err := f.ReadAt(b, 0)
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return b[:n], err
	}
	for try := 1; ; try++ {
		before, err := metas()
		if err != nil {
			return err
		}
		content, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<40))
		if err != nil {
			return err
		}
		after, err := metas()
		if err != nil {
			return err
		}
		if bytes.Equal(before, after) && bytes.HasPrefix(content, before) {
			if len(content) == 0 {
				return nil // none yet
			}
			return readDatabase(content, visit)
		}
		if try == readTries {
			return fmt.Errorf("it was written all the time while it was read; try again")
		}
		time.Sleep(readPause)
	}
}
