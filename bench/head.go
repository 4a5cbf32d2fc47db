package main

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// What a job of the head does.
const (
	modeReplay = "replay" // its log is all there, and sent as fast as it is taken
	modeFollow = "follow" // it prints rate lines a second, which come once a second
	modeSilent = "silent" // it has printed a few lines and goes on in silence
)

// silentLines is what a silent job has printed.
const silentLines = 20

// head is a Ray head with a node agent, as far as a shipper sees them, that
// spends as little as it can: it sends a log from memory, frame after frame.
// What Ray does wrong is the business of ray/raytest, not of this one.
type head struct {
	log   []byte
	jobs  int
	mode  string
	rate  int // lines a second of each job that is followed
	began time.Time
	self  string // its base URL

	tails atomic.Int64 // bytes of logs sent by WebSockets
	agent atomic.Int64 // bytes sent by the agent, headers left out
	polls atomic.Int64 // requests to the agent
}

// runHead serves until its stdin ends. It prints its URL first.
func runHead(args []string) error {
	fs := flag.NewFlagSet("head", flag.ContinueOnError)
	h := &head{}
	path := fs.String("log", "", "the log of each job")
	fs.StringVar(&h.mode, "mode", modeReplay, "")
	fs.IntVar(&h.jobs, "jobs", 1, "")
	fs.IntVar(&h.rate, "rate", 1000, "")
	if err := fs.Parse(args); err != nil {
		return err
	}
	var err error
	if h.log, err = mapFile(*path); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	h.self = "http://" + l.Addr().String()
	h.began = time.Now()
	fmt.Println(h.self)
	go http.Serve(l, h) //nolint:errcheck // it ends with the process
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// size is how long a job's log is now: whole seconds' worth of lines.
func (h *head) size() int64 {
	switch h.mode {
	case modeFollow:
		lines := int64(time.Since(h.began)/time.Second) * int64(h.rate)
		return min(lines*lineSize, int64(len(h.log)))
	case modeSilent:
		return min(silentLines*lineSize, int64(len(h.log)))
	}
	return int64(len(h.log))
}

// ServeHTTP implements http.Handler.
func (h *head) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := func(format string, args ...any) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, format, args...)
	}
	path := r.URL.Path
	switch {
	case path == "/bench/sent":
		fmt.Fprintf(w, "%d %d %d", h.tails.Load(), h.agent.Load(), h.polls.Load())
	case path == "/api/version":
		answer(`{"version":"4","ray_version":"2.60.0","ray_commit":"","session_name":"session_2026-11-24_12-00-00_000000_1"}`)
	case path == "/api/jobs/":
		list := make([]string, h.jobs)
		for i := range list {
			list[i] = h.job(jobID(i))
		}
		answer("[%s]", strings.Join(list, ","))
	case strings.HasSuffix(path, "/logs/tail"):
		h.tail(w, r)
	case strings.HasPrefix(path, "/api/jobs/"):
		answer("%s", h.job(strings.TrimPrefix(path, "/api/jobs/")))
	case path == "/api/v0/nodes":
		answer(`{"result":true,"msg":"","data":{"result":{"total":1,"num_after_truncation":1,"num_filtered":1,"result":[{"node_id":%q,"node_ip":"127.0.0.1","is_head_node":true,"state":"ALIVE","resources_total":{}}]}}}`, nodeID)
	case path == "/nodes":
		answer(`{"result":true,"msg":"","data":{"summary":[]}}`)
	case path == "/api/v0/logs/file":
		h.lines(w, r)
	case strings.HasPrefix(path, "/logs/"):
		h.logs(w, r)
	default:
		http.NotFound(w, r)
	}
}

var nodeID = strings.Repeat("1", 56)

func jobID(i int) string { return fmt.Sprintf("raysubmit_%016d", i) }

func (h *head) job(id string) string {
	return fmt.Sprintf(`{"type":"SUBMISSION","submission_id":%q,"job_id":"02000000","driver_info":null,"status":"RUNNING",`+
		`"entrypoint":"python train.py","message":"Job is currently running.","error_type":null,"start_time":%d,"end_time":null,`+
		`"metadata":{"job_name":"train"},"runtime_env":{},"driver_agent_http_address":%q,"driver_node_id":%q,"driver_exit_code":null}`,
		id, h.began.UnixMilli(), h.self, nodeID)
}

// logs is the node agent.
func (h *head) logs(w http.ResponseWriter, r *http.Request) {
	h.polls.Add(1)
	size := h.size()
	from, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimPrefix(r.Header.Get("Range"), "bytes="), "-"), 10, 64)
	w.Header().Set("Content-Type", "application/octet-stream")
	if from >= size {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", size))
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		return
	}
	w.Header().Set("Content-Length", strconv.FormatInt(size-from, 10))
	w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, size-1, size))
	w.WriteHeader(http.StatusPartialContent)
	h.send(w, h.log[from:size], &h.agent)
}

// lines is the file way: the last so many lines.
func (h *head) lines(w http.ResponseWriter, r *http.Request) {
	text := h.log[:h.size()]
	if n, _ := strconv.Atoi(r.URL.Query().Get("lines")); n > 0 {
		text = text[max(0, len(text)-n*lineSize):]
	}
	h.send(w, text, &h.tails)
}

// send sends text in pieces, so that what was sent can be counted.
func (h *head) send(w io.Writer, text []byte, count *atomic.Int64) {
	for len(text) > 0 {
		n, err := w.Write(text[:min(len(text), 256<<10)])
		count.Add(int64(n))
		if err != nil {
			return
		}
		text = text[n:]
	}
}

// tail is the WebSocket: the whole log, and then what comes.
func (h *head) tail(w http.ResponseWriter, r *http.Request) {
	key := r.Header.Get("Sec-Websocket-Key")
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	if _, err := io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: "+
		base64.StdEncoding.EncodeToString(sum[:])+"\r\n\r\n"); err != nil {
		return
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for sent := int64(0); ; <-tick.C {
		size := h.size()
		// A replay is written as a reader that is behind finds it in its socket,
		// many frames at once; what comes live is a write for each frame.
		at := 32
		if h.mode == modeFollow {
			at = 1
		}
		if !h.frames(conn, h.log[sent:size], at) {
			return
		}
		sent = size
	}
}

// frames sends text in frames of ten lines, some of them at once.
func (h *head) frames(conn net.Conn, text []byte, atOnce int) bool {
	buf := make([]byte, 0, atOnce*(frameLines*lineSize+4))
	for len(text) > 0 {
		buf = buf[:0]
		n := 0
		for range atOnce {
			payload := text[n:min(n+frameLines*lineSize, len(text))]
			if len(payload) == 0 {
				break
			}
			buf = append(buf, 0x81, 126) // text, final, with a length of 16 bits
			buf = binary.BigEndian.AppendUint16(buf, uint16(len(payload)))
			buf = append(buf, payload...)
			n += len(payload)
		}
		if _, err := conn.Write(buf); err != nil {
			return false
		}
		h.tails.Add(int64(n))
		text = text[n:]
	}
	return true
}
