package lines

import (
	"math/bits"
	"sync"
)

// ChunkSize is how many bytes of a log are read at once (bytes).
const ChunkSize = 64 << 10

var chunkPool = sync.Pool{New: func() any { b := make([]byte, ChunkSize); return &b }}

// GetChunk returns a buffer of ChunkSize bytes. Return it with PutChunk.
func GetChunk() *[]byte { return chunkPool.Get().(*[]byte) }

// PutChunk returns a buffer to the pool. The caller must not use it again.
func PutChunk(b *[]byte) { chunkPool.Put(b) }

// Buffers for long lines, partial lines and their records are pooled: if many jobs print
// such lines, garbage would otherwise need as much memory as the buffers in use.
const (
	minBufferBits = 15 // of the size, as a power of two: 32 KiB
	maxBufferBits = 20
)

var bufferPools [maxBufferBits - minBufferBits + 1]sync.Pool // of *[]byte

// RoundBuffer rounds the size of a buffer up to one that is pooled.
func RoundBuffer(n int) int {
	if n <= 1<<(minBufferBits-1) || n > 1<<maxBufferBits {
		return n
	}
	return 1 << bits.Len(uint(n-1))
}

// bufferPool returns the pool for a size, nil if such buffers are not pooled.
func bufferPool(size int) *sync.Pool {
	if c := bits.Len(uint(size)) - 1; c >= minBufferBits && c <= maxBufferBits && size == 1<<c {
		return &bufferPools[c-minBufferBits]
	}
	return nil
}

// GetBuffer returns an empty buffer with a capacity of size bytes.
func GetBuffer(size int) []byte {
	if p := bufferPool(size); p != nil {
		if b, ok := p.Get().(*[]byte); ok {
			return (*b)[:0]
		}
	}
	return make([]byte, 0, size)
}

// PutBuffer returns a buffer to its pool. The caller must not use it again.
func PutBuffer(b []byte) {
	if p := bufferPool(cap(b)); p != nil {
		p.Put(&b)
	}
}
