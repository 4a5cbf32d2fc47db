package transport

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"raytap/ray"
	"raytap/ray/internal/pyjson"
)

func TestClient_ConcurrencyLimits(t *testing.T) {
	running, most := new(atomic.Int32), new(atomic.Int32)
	release := make(chan struct{})
	c, requests := testClient(t, Options{MaxConcurrent: 2}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stream" {
			_, _ = io.WriteString(w, "x")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return
		}
		n := running.Add(1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		<-release
		running.Add(-1)
		_, _ = io.WriteString(w, "{}")
	})
	var open []io.Closer
	for range 2 {
		res, err := c.Do(t.Context(), Request{Op: op, Endpoint: "/s", Path: "/stream", Stream: true})
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, res.Body)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Do(ctx, Request{Op: op, Endpoint: "/s", Path: "/stream", Stream: true}); ray.Code(err) != 408 {
		t.Errorf("a third stream: %v", err)
	}
	for range 3 {
		res, err := c.Do(t.Context(), Request{Op: op, Endpoint: "/s", Path: "/stream", Stream: true, LongLived: true})
		if err != nil {
			t.Fatalf("a long-lived stream waited for a slot: %v", err)
		}
		open = append(open, res.Body)
	}
	done := make(chan error, 6)
	for range cap(done) {
		go func() { done <- c.GetJSON(t.Context(), op, "/x", "/x", nil, new(any)) }()
	}
	for range cap(done) {
		release <- struct{}{}
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if most.Load() > 2 || requests.Load() != 11 {
		t.Errorf("%d concurrent calls, %d requests", most.Load(), requests.Load())
	}
	for _, b := range open {
		_ = b.Close()
		_ = b.Close() // releases its slot once
	}
	res, err := c.Do(t.Context(), Request{Op: op, Endpoint: "/s", Path: "/stream", Stream: true})
	if err != nil {
		t.Fatalf("a closed stream did not release its slot: %v", err)
	}
	_ = res.Body.Close()
	if _, err := res.Body.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("reading a closed stream: %v", err)
	}
}

func TestClient_SlotTimeout(t *testing.T) {
	c, _ := testClient(t, Options{MaxConcurrent: 1, Timeout: 100 * time.Millisecond}, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "{")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	res, err := c.Do(t.Context(), Request{Op: op, Endpoint: "/x", Path: "/x"})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	checkError(t, c.GetJSON(t.Context(), op, "/x", "/x", nil, new(any)), 408, "no free slot")
}

// slowResponse sends headers at once, ten bytes after each of its waits, and then
// nothing.
type slowResponse struct {
	ctx   context.Context
	waits []time.Duration
}

func (s *slowResponse) RoundTrip(r *http.Request) (*http.Response, error) {
	s.ctx = r.Context()
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: s, Request: r}, nil
}

func (s *slowResponse) Close() error { return nil }

func (s *slowResponse) Read(p []byte) (int, error) {
	if len(s.waits) == 0 {
		<-s.ctx.Done()
		return 0, s.ctx.Err()
	}
	select {
	case <-s.ctx.Done():
		return 0, s.ctx.Err()
	case <-time.After(s.waits[0]):
		s.waits = s.waits[1:]
		return copy(p, "0123456789"), nil
	}
}

func TestClient_StreamIdleTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := New(Options{URL: "http://host", Timeout: 10 * time.Second, MaxBody: 4})
		if err != nil {
			t.Fatal(err)
		}
		c.http = &http.Client{Transport: &slowResponse{waits: []time.Duration{9 * time.Second, 9 * time.Second, 0}}}
		res, err := c.Do(t.Context(), Request{Op: op, Endpoint: "/x", Path: "/x", Stream: true})
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		p := make([]byte, 10)
		for range 3 {
			if _, err := io.ReadFull(res.Body, p); err != nil {
				t.Fatal(err)
			}
			<-time.After(time.Hour) // a slow reader is not a stalled server
		}
		began := time.Now()
		_, err = res.Body.Read(p)
		checkError(t, err, 408, "no response from")
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("a stalled stream timed out after %s", took)
		}
	})
}

func TestClient_AllowStatus(t *testing.T) {
	c, _ := testClient(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "bytes=9-" {
			t.Errorf("Range is %q", r.Header.Get("Range"))
		}
		w.Header().Set("Content-Range", "bytes */5")
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
	})
	res, err := c.Do(t.Context(), Request{Op: op, Endpoint: "/x", Path: "/x", Header: http.Header{"Range": {"bytes=9-"}}, AllowStatus: []int{416}})
	if err != nil || res.Header.Get("Content-Range") != "bytes */5" {
		t.Fatalf("got %v, %v", res, err)
	}
	_ = res.Body.Close()
}

func TestClient_ReusesConnections(t *testing.T) {
	addrs := map[string]bool{}
	c, _ := testClient(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		addrs[r.RemoteAddr] = true
		_, _ = io.WriteString(w, "{\"A\":1}\n\n")
	})
	for range 5 {
		if err := c.Get(t.Context(), op, "/x", "/x", nil, func(d *pyjson.Decoder) error { return d.Decode(new(any)) }); err != nil {
			t.Fatal(err)
		}
	}
	if len(addrs) != 1 {
		t.Errorf("%d connections for 5 calls", len(addrs))
	}
}

func TestClient_RequestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := New(Options{URL: "http://host", Timeout: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		c.http = &http.Client{Transport: &slowResponse{waits: []time.Duration{50 * time.Second}}}
		res, err := c.Do(t.Context(), Request{Op: op, Endpoint: "/x", Path: "/x", Stream: true, Timeout: time.Second, Idle: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if _, err := io.ReadFull(res.Body, make([]byte, 10)); err != nil {
			t.Errorf("within Idle: %v", err)
		}
		_, err = res.Body.Read(make([]byte, 10))
		checkError(t, err, 408, "within 1m0s")
		c.http = &http.Client{Transport: &slowResponse{waits: []time.Duration{2 * time.Second}}}
		err = c.Call(t.Context(), Request{Op: op, Endpoint: "/x", Path: "/x", Timeout: time.Second}, func(d *pyjson.Decoder) error { return d.Decode(new(any)) })
		checkError(t, err, 408, "within 1s")
	})
}
