package raytest

import (
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"raytap/ray/internal/fake"
)

// tail is one WebSocket tail: the parts of the dashboard, the JobHead and the node agent
// in one.
type tail struct {
	head       *Head
	job        *Job
	conn       net.Conn
	done       <-chan struct{} // closed when the dashboard stops
	clientLeft chan struct{}   // closed once the client has closed the connection
	closing    chan struct{}   // closed to end it by a Close frame
	cut        *cut            // the fault that will end it, or nil

	// guarded by head.mu
	clientGone bool // the client left
	ended      bool // closing is closed

	wmu    sync.Mutex // one frame at a time
	silent bool
	closed bool
}

var (
	errTailEnded = errors.New("the tail is over")
	errAgentGone = errors.New("no agent, or no such job any more")
)

// serveTail upgrades the request and tails the job's log until it ends.
func (h *Head) serveTail(w http.ResponseWriter, r *http.Request, id string) {
	release, ok := h.acquireSlot(r.Context())
	if !ok {
		return
	}
	defer release()
	h.mu.Lock()
	j := h.job(id)
	driver := h.isDriver(id)
	h.mu.Unlock()
	switch {
	case driver:
		text(w, http.StatusBadRequest, "Can only get logs of submission type jobs")
		return
	case j == nil:
		text(w, http.StatusNotFound, "Job "+id+" does not exist")
		return
	case !strings.EqualFold(r.Header.Get("Upgrade"), "websocket"):
		text(w, http.StatusInternalServerError, "500: WebSocket proxy error")
		return
	}
	var c *cut
	if cw, ok := w.(*cutWriter); ok {
		c = cw.cut
	}
	conn, err := fake.Hijack(w, r)
	if err != nil {
		return
	}
	defer fake.CloseConn(r, conn)
	t := &tail{head: h, job: j, conn: conn, done: r.Context().Done(), clientLeft: make(chan struct{}), closing: make(chan struct{}), cut: c}
	deflate := strings.Contains(r.Header.Get("Sec-Websocket-Extensions"), "permessage-deflate")
	t.open(r.Header.Get("Sec-Websocket-Key"), deflate)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		t.watch()
	}()
	t.run(deflate)
	t.stayOpenIfSilent()
	h.mu.Lock()
	delete(h.tails, t)
	h.mu.Unlock()
	_ = conn.Close()
	<-watched
}

func (t *tail) open(key string, deflate bool) {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	head := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: " +
		base64.StdEncoding.EncodeToString(sum[:]) + "\r\n"
	if deflate {
		head += "Sec-WebSocket-Extensions: permessage-deflate\r\n"
	}
	head += "Date: " + time.Now().UTC().Format(http.TimeFormat) + "\r\nServer: Python/3.11 aiohttp/3.14.5\r\n\r\n"
	t.head.mu.Lock()
	t.head.tails[t] = struct{}{}
	t.head.peak = max(t.head.peak, t.head.openTails())
	t.head.mu.Unlock()
	_, _ = io.WriteString(t.conn, head) // a client that has read it is counted already
}

// watch discards what the client sends: Ray's dashboard ignores pings and Close frames.
func (t *tail) watch() {
	_, _ = io.Copy(io.Discard, t.conn)
	t.head.mu.Lock()
	t.clientGone = true
	t.head.mu.Unlock()
	close(t.clientLeft)
}

// run tails the log like JobHead and the job agent.
func (t *tail) run(deflate bool) {
	if !t.waitForNode() {
		return
	}
	deflateFails := t.head.minor() >= 60 && deflate
	if deflateFails || strings.ContainsAny(t.job.ID, "?#%") { // JobHead does not escape ids towards the agent
		t.closeFrame()
		return
	}
	if strings.Contains(t.job.ID, "/") {
		for t.sleep() {
		}
		return
	}
	it := &iterator{tail: t}
	ended := false
	for {
		batch, err := it.next()
		if err == errTailEnded {
			return
		}
		if err != nil || len(batch) > t.head.o.frame {
			t.closeFrame()
			return
		}
		if batch != "" {
			if !t.send(batch) {
				return
			}
			continue
		}
		known, terminal := t.state()
		if ended || !known {
			t.closeFrame()
			return
		}
		ended = terminal
		if !t.sleep() {
			return
		}
	}
}

// waitForNode waits until the job has a node; JobHead then sleeps once more. False: the
// tail has ended.
func (t *tail) waitForNode() bool {
	for {
		t.head.mu.Lock()
		placed, terminal, deleted := t.job.node != nil, t.job.terminal(), t.job.deleted
		t.head.mu.Unlock()
		if !placed && (terminal || deleted) {
			t.closeFrame()
			return false
		}
		if !t.sleep() {
			return false
		}
		if placed {
			return true
		}
	}
}

// state reports whether the job is still listed on a node with a running agent, and
// whether it has ended.
func (t *tail) state() (known, terminal bool) {
	t.head.mu.Lock()
	defer t.head.mu.Unlock()
	return !t.job.deleted && t.job.node.agent != nil, t.job.terminal()
}

// sleep waits for one poll; false once the dashboard is down. A client that has left
// does not end it: Ray holds the slot until its next write. Before 2.60 the slot of a
// closed tail was free immediately.
func (t *tail) sleep() bool {
	timer := time.NewTimer(t.head.o.pollInterval)
	defer timer.Stop()
	left := t.clientLeft
	if t.head.minor() >= 60 {
		left = nil
	}
	select {
	case <-t.done:
		return false
	case <-t.closing:
		return false
	case <-left:
		return false
	case <-timer.C:
		return true
	}
}

// stayOpenIfSilent keeps a half-open connection until either end closes it.
func (t *tail) stayOpenIfSilent() {
	t.wmu.Lock()
	silent := t.silent
	t.wmu.Unlock()
	if silent {
		select {
		case <-t.done:
		case <-t.clientLeft:
		}
	}
}

// iterator is Ray's file_tail_iterator over one opened file.
type iterator struct {
	*tail
	text  *textReader
	batch batcher
}

// next returns the next batch; "" if a poll found nothing.
func (it *iterator) next() (string, error) {
	if it.text == nil && !it.openFile() {
		return "", nil
	}
	for {
		if known, _ := it.state(); !known {
			return "", errAgentGone
		}
		line, err := it.text.readline()
		if err != nil {
			return "", err
		}
		if line != "" {
			if it.batch.add(line) {
				return it.batch.take(), nil
			}
			continue
		}
		if !it.sleep() {
			return "", errTailEnded
		}
		return it.batch.take(), nil
	}
}

// openFile opens the file that has the job's log name now, if there is one.
func (it *iterator) openFile() bool {
	h := it.head
	h.mu.Lock()
	defer h.mu.Unlock()
	f := it.job.node.files[logName(it.job.ID)]
	if f == nil {
		return false
	}
	it.text = &textReader{read: func(off int64, max int) []byte {
		h.mu.Lock()
		defer h.mu.Unlock()
		return f.at(off, max)
	}}
	return true
}

// send sends one text frame; false: the tail has ended.
func (t *tail) send(text string) bool {
	select {
	case <-t.clientLeft:
		// JobHead notices at a write that the client left; the slot is free some time
		// after it.
		timer := time.NewTimer(t.head.o.slotReleaseDelay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-t.done:
		}
		return false
	default:
	}
	t.wmu.Lock()
	defer t.wmu.Unlock()
	if t.silent {
		return true
	}
	if t.closed {
		return false
	}
	return t.write(fake.AppendText(nil, []byte(text)))
}

// write sends a frame's bytes, or the part that the fault lets through.
func (t *tail) write(b []byte) bool {
	c := t.cut
	if c == nil || int64(len(b)) <= c.left {
		if c != nil {
			c.left -= int64(len(b))
		}
		_, err := t.conn.Write(b)
		return err == nil
	}
	t.cut = nil
	c.hit()
	if c.f.Action == CloseFrame {
		_, _ = t.conn.Write(fake.CloseFrame(1000))
		return false
	}
	c.countSplits(b, c.left)
	_, _ = t.conn.Write(b[:c.left])
	if c.f.Action == HalfOpen {
		t.silent = true
		return true
	}
	fake.Disconnect(t.conn, c.f.Action == CutReset)
	return false
}

// closeFrame sends Close 1000 without a reason, for any cause.
func (t *tail) closeFrame() {
	t.wmu.Lock()
	defer t.wmu.Unlock()
	if !t.silent && !t.closed {
		t.closed = true
		_, _ = t.conn.Write(fake.CloseFrame(1000))
	}
}

// CutTails ends every open tail of a job ("" = of all jobs) now, by CloseFrame, CutClose,
// CutReset or HalfOpen, and returns their number.
func (h *Head) CutTails(how Action, submissionID string) int {
	h.mu.Lock()
	var cut []*tail
	for t := range h.tails {
		if !t.clientGone && !t.ended && (submissionID == "" || t.job.ID == submissionID) {
			cut = append(cut, t)
			t.ended = how == CloseFrame
		}
	}
	h.mu.Unlock()
	for _, t := range cut {
		switch how {
		case CloseFrame:
			t.closeFrame()
			close(t.closing)
		case HalfOpen:
			t.wmu.Lock()
			t.silent = true
			t.wmu.Unlock()
		default:
			fake.Disconnect(t.conn, how == CutReset)
		}
	}
	return len(cut)
}
