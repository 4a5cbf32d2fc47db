package shipper

import (
	"math/bits"
	"sync"
)

// Buffers for long lines, halves of them and their records, are used again: what
// the garbage collector has not come to yet would else be as much memory as is
// in use, where many jobs print such lines.
const (
	longLeast = 15 // of the size, as a power of two: 32 KiB
	longMost  = 20
)

var longs [longMost - longLeast + 1]sync.Pool // of *[]byte

// longSize rounds the size of a buffer up to one that is used again.
func longSize(n int) int {
	if n <= 1<<(longLeast-1) || n > 1<<longMost {
		return n
	}
	return 1 << bits.Len(uint(n-1))
}

// longPool gives the pool of a size, nil where such buffers are not kept.
func longPool(size int) *sync.Pool {
	if c := bits.Len(uint(size)) - 1; c >= longLeast && c <= longMost && size == 1<<c {
		return &longs[c-longLeast]
	}
	return nil
}

// newLong gives an empty buffer of a size.
func newLong(size int) []byte {
	if p := longPool(size); p != nil {
		if b, ok := p.Get().(*[]byte); ok {
			return (*b)[:0]
		}
	}
	return make([]byte, 0, size)
}

// freeLong gives a buffer back that nobody looks at any more.
func freeLong(b []byte) {
	if p := longPool(cap(b)); p != nil {
		p.Put(&b)
	}
}
