package shipper

import (
	"context"
	"errors"
	"sync"

	"raytap/ray"
)

// errBelied: a message does not fit the form that the ones before it had.
var errBelied = errors.New("the messages of this log have another form than was thought: their newlines")

// parcel is the text of some messages in a row.
type parcel struct {
	data     []byte
	messages uint64
	form     form
	held     []byte // the joiner's, as it was then
	err      error  // why the stream ended, behind data
}

// inbox takes messages while their reader is busy, and gives them together: at
// most about a chunk, and one message more. One goroutine fills it, one takes.
type inbox struct {
	mu    sync.Mutex
	next  parcel
	each  bool          // a parcel holds one message at the most
	ready chan struct{} // something can be taken
	room  chan struct{} // something was taken
	// grew is told how many bytes the buffer takes beyond a chunk, and by a
	// negative number when it lets them go.
	grew func(n int64)
}

func newInbox(each bool, grew func(int64)) *inbox {
	return &inbox{each: each, ready: make(chan struct{}, 1), room: make(chan struct{}, 1), grew: grew}
}

// fill puts a stream's messages in until it ends, or ctx does.
func (in *inbox) fill(ctx context.Context, stream ray.MessageStream, j *joiner) {
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
			if in.next.data, ok = j.join(in.next.data, m); !ok {
				err = errBelied
			}
			in.next.messages++
			if after := cap(in.next.data); after > max(before, chunkSize) {
				in.grew(int64(after - max(before, chunkSize)))
			}
		}
		in.next.form, in.next.held, in.next.err = j.form, j.held, err
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

func (in *inbox) full() bool {
	return len(in.next.data) >= chunkSize || in.each && in.next.messages > 0
}

// take gives what is there. data is good until the next take, which gets it as
// the buffer for what comes after.
func (in *inbox) take(spare []byte) parcel {
	if n := cap(spare); n > 2*chunkSize { // of a rare long message: not kept
		in.grew(-int64(n - chunkSize))
		spare = nil
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	p := in.next
	in.next = parcel{data: spare[:0]}
	select {
	case in.room <- struct{}{}:
	default:
	}
	return p
}

// empty reports whether nothing can be taken now.
func (in *inbox) empty() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.next.messages == 0 && in.next.err == nil
}

// drop lets the buffers go, once nobody fills.
func (in *inbox) drop(spare []byte) {
	for _, b := range [][]byte{spare, in.next.data} {
		if n := cap(b); n > chunkSize {
			in.grew(-int64(n - chunkSize))
		}
	}
	in.next.data = nil
}
