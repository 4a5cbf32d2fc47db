package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gorilla/websocket"
)

// runPlain is the baseline: it reads the WebSockets of some jobs and writes records with
// the fields and size of raytap's. It does nothing else: no positions, limits, checks,
// metrics, memory limits, reconnects, and no UTF-8 validation. It ends after the given
// number of lines of each job, or on SIGTERM.
func runPlain(args []string) error {
	fs := flag.NewFlagSet("plain", flag.ContinueOnError)
	url := fs.String("url", "", "the head")
	jobs := fs.Int("jobs", 1, "")
	lines := fs.Int("lines", 0, "of each job")
	path := fs.String("out", "/dev/stdout", "")
	if err := fs.Parse(args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	f, err := os.OpenFile(*path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	out := &plainOut{w: bufio.NewWriterSize(f, 64<<10)}
	go out.flushes(ctx)
	errs := make([]error, *jobs)
	var wg sync.WaitGroup
	for i := range *jobs {
		wg.Go(func() { errs[i] = plainJob(ctx, *url, jobID(i), *lines, out) })
	}
	wg.Wait()
	return errors.Join(append(errs, out.flush(), f.Close())...)
}

// plainOut is the output of all jobs.
type plainOut struct {
	mu sync.Mutex
	w  *bufio.Writer
}

func (o *plainOut) write(b []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, err := o.w.Write(b)
	return err
}

func (o *plainOut) flush() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.w.Flush()
}

// flushes flushes every 100 ms until ctx ends.
func (o *plainOut) flushes(ctx context.Context) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = o.flush() // bufio.Writer keeps the error until the last flush
		}
	}
}

func plainJob(ctx context.Context, url, id string, lines int, out *plainOut) error {
	d := websocket.Dialer{ReadBufferSize: 64 << 10}
	conn, _, err := d.DialContext(ctx, strings.Replace(url, "http", "ws", 1)+"/api/jobs/"+id+"/logs/tail", nil)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	defer conn.Close()
	head := `Z","ray_cluster":"bench","session":"session_2026-11-24_12-00-00_000000_1","submission_id":"` + id +
		`","job_id":"02000000","job_name":"train","source":"driver","epoch":0,"seq":`
	frame := make([]byte, 64<<10)
	var records, stamp []byte
	for seq := 0; lines == 0 || seq < lines; {
		n, err := readFrame(conn, frame)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		now := time.Now().UTC()
		stamp = now.AppendFormat(stamp[:0], `{"time":"2006-01-02T15:04:05.`)
		ns := now.Nanosecond()
		records = records[:0]
		for b := frame[:n]; len(b) > 0; seq++ {
			line := b
			if i := bytes.IndexByte(b, '\n'); i >= 0 {
				line, b = b[:i], b[i+1:]
			} else {
				b = nil
			}
			records = append(records, stamp...)
			var digits [9]byte
			for i, v := 8, ns; i >= 0; i, v = i-1, v/10 {
				digits[i] = byte('0' + v%10)
			}
			ns++
			records = append(records, digits[:]...)
			records = append(records, head...)
			records = strconv.AppendInt(records, int64(seq), 10)
			if len(line) > 28 && string(line[24:28]) == "INFO" { // where the corpus has it
				records = append(records, `,"level":"INFO"`...)
			}
			records = append(records, `,"message":"`...)
			records = plainText(records, line)
			records = append(records, '"', '}', '\n')
		}
		if err := out.write(records); err != nil {
			return err
		}
	}
	return nil
}

func readFrame(conn *websocket.Conn, into []byte) (int, error) {
	_, r, err := conn.NextReader()
	if err != nil {
		return 0, err
	}
	n, err := io.ReadFull(r, into)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// plainText appends ASCII text escaped for JSON, eight bytes at a time where possible.
func plainText(b, s []byte) []byte {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	start := 0
	for i := 0; i < len(s); {
		if i+8 <= len(s) {
			x := binary.LittleEndian.Uint64(s[i:])
			q, e := x^('"'*ones), x^('\\'*ones)
			if ((x-0x20*ones)|((q-ones)&^q)|((e-ones)&^e))&highs == 0 {
				i += 8
				continue
			}
		}
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' {
			b = append(b, s[start:i]...)
			if c < 0x20 {
				b = append(b, '\\', 'u', '0', '0', "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
			} else {
				b = append(b, '\\', c)
			}
			start = i + 1
		}
		i++
	}
	return append(b, s[start:]...)
}
