package main

import (
	"bytes"
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

// Modes of the head's jobs.
const (
	modeReplay = "replay" // the whole log exists and is sent as fast as it is read
	modeFollow = "follow" // it prints the lines of a second at once, every second
	modeSilent = "silent" // it has printed a few lines and prints no more
)

// silentLines is how many lines a silent job has printed.
const silentLines = 20

// head is a fake Ray head with a node agent that uses as little CPU as possible: it
// has only what the shipper reads, and sends the log from memory. Faults of Ray are in
// ray/raytest.
type head struct {
	log   []byte
	jobs  int
	mode  string
	rate  int // lines per second and job in modeFollow
	began time.Time
	self  string // its base URL

	tails     atomic.Int64 // bytes of logs sent over WebSockets and full reads
	nodeAgent atomic.Int64 // bytes sent by the node agent, without headers
	polls     atomic.Int64 // requests to the node agent
}

// runHead serves until its stdin ends. It first prints its URL.
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

// size returns the current size of a job's log in bytes.
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
	reply := func(format string, args ...any) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, format, args...)
	}
	path := r.URL.Path
	switch {
	case path == "/bench/sent":
		fmt.Fprintf(w, "%d %d %d", h.tails.Load(), h.nodeAgent.Load(), h.polls.Load())
	case path == "/api/version":
		reply(`{"version":"4","ray_version":"2.60.0","ray_commit":"","session_name":"session_2026-11-24_12-00-00_000000_1"}`)
	case path == "/api/jobs/":
		list := make([]string, h.jobs)
		for i := range list {
			list[i] = h.job(jobID(i))
		}
		reply("[%s]", strings.Join(list, ","))
	case strings.HasSuffix(path, "/logs/tail"):
		h.tail(w, r)
	case strings.HasPrefix(path, "/api/jobs/"):
		reply("%s", h.job(strings.TrimPrefix(path, "/api/jobs/")))
	case path == "/api/v0/nodes":
		reply(`{"result":true,"msg":"","data":{"result":{"total":1,"num_after_truncation":1,"num_filtered":1,"result":[{"node_id":%q,"node_ip":"127.0.0.1","is_head_node":true,"state":"ALIVE","resources_total":{}}]}}}`, nodeID)
	case path == "/nodes":
		reply(`{"result":true,"msg":"","data":{"summary":[]}}`)
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

// logs serves the node agent's API: one log, which is not rotated.
func (h *head) logs(w http.ResponseWriter, r *http.Request) {
	h.polls.Add(1)
	if !strings.HasSuffix(r.URL.Path, ".log") {
		http.NotFound(w, r)
		return
	}
	size := h.size()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("ETag", fmt.Sprintf(`"1-%x"`, size))
	http.ServeContent(countingWriter{w, &h.nodeAgent}, r, "", time.Time{}, bytes.NewReader(h.log[:size]))
}

// countingWriter counts the bytes of a response's body.
type countingWriter struct {
	http.ResponseWriter
	count *atomic.Int64
}

func (w countingWriter) Write(b []byte) (int, error) {
	n, err := w.ResponseWriter.Write(b)
	w.count.Add(int64(n))
	return n, err
}

// lines serves the State API's log file: the last n lines.
func (h *head) lines(w http.ResponseWriter, r *http.Request) {
	text := h.log[:h.size()]
	if n, _ := strconv.Atoi(r.URL.Query().Get("lines")); n > 0 {
		text = text[max(0, len(text)-n*lineSize):]
	}
	h.send(w, text, &h.tails)
}

// send sends text in pieces and counts what was sent.
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

// tail serves the WebSocket: the whole log, and then what is appended.
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
		// A replay writes many frames at once, as a slow reader finds them in its
		// socket. Live output is one write for each frame.
		atOnce := 32
		if h.mode == modeFollow {
			atOnce = 1
		}
		if !h.frames(conn, h.log[sent:size], atOnce) {
			return
		}
		sent = size
	}
}

// frames sends text in frames of ten lines, atOnce frames in one write. false: the
// connection is closed.
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
			buf = append(buf, 0x81, 126) // final text frame, length in 16 bits
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
