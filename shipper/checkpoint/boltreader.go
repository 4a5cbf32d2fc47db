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

// This file reads a bbolt database without bbolt, before bbolt opens it. bbolt panics on a
// damaged file, also in goroutines of its own, where the panic cannot be recovered; it loops
// indefinitely on a page that refers to itself; and it cannot read a file while another
// process writes it.
//
// The format is that of bbolt 1.3 to 1.5, version 2: pages of pageSize. The first two are
// meta pages, of which the newer valid one counts. Numbers have the byte order of the
// machine.

const (
	pageHeader   = 16
	metaSize     = 56 // before its checksum
	boltMagic    = 0xED0CDAED
	boltVersion  = 2
	branchPage   = 0x01
	leafPage     = 0x02
	bucketLeaf   = 0x01
	elementSize  = 16 // bytes, in branch and leaf pages
	bucketHeader = 16
)

// meta is the content of a meta page.
type meta struct {
	root, pages, tx uint64 // pages: number of pages in use
}

var errNoDatabase = errors.New("it holds no positions of raytap")

// readMeta returns the newer valid meta of a database.
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
		err = corrupt("its first pages are missing")
	}
	return m, err
}

// corrupt returns an error that wraps errCorrupt, with what was found.
func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w (%s)", errCorrupt, fmt.Sprintf(format, args...))
}

var errCorrupt = errors.New("it is corrupt")

// readDatabase visits all keys of all buckets of a database. bbolt can read a database that
// readDatabase has read without an error.
func readDatabase(b []byte, visit func(bucket string, key, value []byte) error) error {
	m, err := readMeta(b)
	if err != nil {
		return err
	}
	if m.pages > uint64(len(b))/pageSize {
		return corrupt("it was truncated: it has %d of %d bytes", len(b), m.pages*pageSize)
	}
	r := pageReader{b: b[:m.pages*pageSize], seen: make([]bool, m.pages)}
	return r.page(m.root, func(flags uint32, name, value []byte) error {
		if flags != bucketLeaf || len(value) < bucketHeader {
			return corrupt("%q is not a bucket", name)
		}
		leaf := func(flags uint32, key, value []byte) error {
			if flags != 0 {
				return corrupt("bucket %s contains a bucket", name)
			}
			return visit(string(name), key, value)
		}
		root := binary.NativeEndian.Uint64(value)
		if root == 0 { // its page is stored here
			return r.elements(value[bucketHeader:], nil, leaf)
		}
		return r.page(root, leaf)
	})
}

// pageReader reads pages, each at most once.
type pageReader struct {
	b    []byte
	seen []bool
}

type leafVisit func(flags uint32, key, value []byte) error

// page visits the leaf elements of the tree with the root page id.
func (r *pageReader) page(id uint64, visit leafVisit) error { return r.walk(id, nil, visit) }

// walk visits the leaf elements of a page and of the pages below it. No key is less than
// first, unless that is nil.
func (r *pageReader) walk(id uint64, first []byte, visit leafVisit) error {
	if id < 2 || id >= uint64(len(r.seen)) {
		return corrupt("there is no page %d", id)
	}
	p := r.b[id*pageSize:]
	overflow := uint64(binary.NativeEndian.Uint32(p[12:]))
	if overflow >= uint64(len(r.seen))-id {
		return corrupt("page %d extends beyond the end of the file", id)
	}
	for i := id; i <= id+overflow; i++ {
		if r.seen[i] {
			return corrupt("page %d is referred to twice", i)
		}
		r.seen[i] = true
	}
	if got := binary.NativeEndian.Uint64(p); got != id {
		return corrupt("page %d has the number %d", id, got)
	}
	return r.elements(p[:(overflow+1)*pageSize], first, visit)
}

// elements visits the elements of a page and checks that their keys are in order.
func (r *pageReader) elements(p, first []byte, visit leafVisit) error {
	if len(p) < pageHeader {
		return corrupt("a page without a header")
	}
	kind, count := binary.NativeEndian.Uint16(p[8:]), int(binary.NativeEndian.Uint16(p[10:]))
	if kind != branchPage && kind != leafPage || kind == branchPage && count == 0 {
		return corrupt("a page of kind %d with %d elements", kind, count)
	}
	if len(p) < pageHeader+count*elementSize {
		return corrupt("a page of %d bytes with %d elements", len(p), count)
	}
	var last []byte
	for i := range count {
		e := p[pageHeader+i*elementSize:]
		number := func(at int) uint64 { return uint64(binary.NativeEndian.Uint32(e[at:])) }
		flags, pos, ksize, vsize := number(0), number(4), number(8), number(12)
		if kind == branchPage {
			flags, pos, ksize, vsize = 0, number(0), number(4), 0
		}
		if pos < uint64(elementSize) || ksize == 0 || pos+ksize+vsize > uint64(len(e)) {
			return corrupt("a key outside its page")
		}
		key := e[pos : pos+ksize]
		if i > 0 && bytes.Compare(last, key) >= 0 || i == 0 && first != nil && bytes.Compare(first, key) > 0 {
			return corrupt("keys are out of order")
		}
		last = key
		var err error
		if kind == branchPage {
			err = r.walk(binary.NativeEndian.Uint64(e[8:]), key, visit)
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
	readTries = 50                    // attempts to read a file while another process writes it
	readPause = 20 * time.Millisecond // between two of them
)

// readUnlocked visits all keys of a file that another process may be writing. It takes no
// lock: that would make the start of a raytap fail that needs the file. A transaction never
// writes to a page that the meta before it refers to. So the content is consistent if the
// meta pages are the same before and after it was read.
func readUnlocked(path string, visit func(bucket string, key, value []byte) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() // nothing was written
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
				return nil // a new file
			}
			return readDatabase(content, visit)
		}
		if try == readTries {
			return errors.New("it changed during each of several attempts to read it: try again")
		}
		time.Sleep(readPause)
	}
}
