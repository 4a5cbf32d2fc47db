package tail

import (
	"context"
	"sync"

	"raytap/lines"
	"raytap/ray"
)

// messageBatch is the text of some messages in a row.
type messageBatch struct {
	data     []byte
	messages uint64
	framing  lines.Framing
	held     []byte // the deframer's, as it was then
	err      error  // why the stream ended, after data
}

// messageBuffer takes messages while their reader is busy, and returns them together: at
// most about a chunk, and one message more. One goroutine fills it, another receives.
type messageBuffer struct {
	mu    sync.Mutex
	next  messageBatch
	each  bool          // a batch holds one message at the most
	ready chan struct{} // something can be received
	room  chan struct{} // something was received
	// grew is called with how many bytes the buffer takes beyond a chunk, and with a
	// negative number when it releases them.
	grew func(n int64)
}

func newMessageBuffer(each bool, grew func(int64)) *messageBuffer {
	return &messageBuffer{each: each, ready: make(chan struct{}, 1), room: make(chan struct{}, 1), grew: grew}
}

// fill puts a stream's messages in until it ends, or ctx does.
func (in *messageBuffer) fill(ctx context.Context, stream ray.MessageStream, d *lines.Deframer) {
	for {
		m, err := stream.Next()
		in.mu.Lock()
		for in.full() {
			in.mu.Unlock()
			select {
			case <-in.room:
			case <-ctx.Done():
				return
			}
			in.mu.Lock()
		}
		if err == nil {
			before := cap(in.next.data)
			ok := false
			if in.next.data, ok = d.Append(in.next.data, m); !ok {
				err = errFramingMismatch
			}
			in.next.messages++
			if after := cap(in.next.data); after > max(before, lines.ChunkSize) {
				in.grew(int64(after - max(before, lines.ChunkSize)))
			}
		}
		in.next.framing, in.next.held, in.next.err = d.Framing, d.Held(), err
		in.mu.Unlock()
		select {
		case in.ready <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

func (in *messageBuffer) full() bool {
	return len(in.next.data) >= lines.ChunkSize || in.each && in.next.messages > 0
}

// receive returns what is there. data is valid until the next call, which uses it as the
// buffer for what comes after.
func (in *messageBuffer) receive(spare []byte) messageBatch {
	if n := cap(spare); n > 2*lines.ChunkSize { // of a rare long message: not kept
		in.grew(-int64(n - lines.ChunkSize))
		spare = nil
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	p := in.next
	in.next = messageBatch{data: spare[:0]}
	select {
	case in.room <- struct{}{}:
	default:
	}
	return p
}

// empty reports whether nothing can be received now.
func (in *messageBuffer) empty() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.next.messages == 0 && in.next.err == nil
}

// free releases the buffers, once nothing fills them.
func (in *messageBuffer) free(spare []byte) {
	for _, b := range [][]byte{spare, in.next.data} {
		if n := cap(b); n > lines.ChunkSize {
			in.grew(-int64(n - lines.ChunkSize))
		}
	}
	in.next.data = nil
}
