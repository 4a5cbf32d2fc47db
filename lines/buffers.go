package lines

import (
	"math/bits"
	"sync"
)

// ChunkSize is how many bytes of a log are read at once.
const ChunkSize = 64 << 10

var chunkPool = sync.Pool{New: func() any { b := make([]byte, ChunkSize); return &b }}

// GetChunk returns a buffer of ChunkSize bytes. PutChunk takes it back.
func GetChunk() *[]byte { return chunkPool.Get().(*[]byte) }

// PutChunk takes back a buffer that is not in use any more.
func PutChunk(b *[]byte) { chunkPool.Put(b) }

// Buffers for long lines, partial lines and their records are used again: what the
// garbage collector has not collected yet would else be as much memory as is in use,
// where many jobs print such lines.
const (
	minBufferBits = 15 // of the size, as a power of two: 32 KiB
	maxBufferBits = 20
)

var bufferPools [maxBufferBits - minBufferBits + 1]sync.Pool // of *[]byte

// RoundBuffer rounds the size of a buffer up to one that is used again.
func RoundBuffer(n int) int {
	if n <= 1<<(minBufferBits-1) || n > 1<<maxBufferBits {
		return n
	}
	return 1 << bits.Len(uint(n-1))
}

// bufferPool returns the pool of a size, nil where such buffers are not kept.
func bufferPool(size int) *sync.Pool {
	if c := bits.Len(uint(size)) - 1; c >= minBufferBits && c <= maxBufferBits && size == 1<<c {
		return &bufferPools[c-minBufferBits]
	}
	return nil
}

// GetBuffer returns an empty buffer of a size.
func GetBuffer(size int) []byte {
	if p := bufferPool(size); p != nil {
		if b, ok := p.Get().(*[]byte); ok {
			return (*b)[:0]
		}
	}
	return make([]byte, 0, size)
}

// PutBuffer takes back a buffer that is not in use any more.
func PutBuffer(b []byte) {
	if p := bufferPool(cap(b)); p != nil {
		p.Put(&b)
	}
}
