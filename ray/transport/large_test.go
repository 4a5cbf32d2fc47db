package transport

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/semaphore"

	"raytap/ray"
	"raytap/ray/internal/pyjson"
)

// rows responds with a list of n bytes or slightly more.
func rows(n int) http.HandlerFunc {
	return respond(http.StatusOK, "application/json", "["+strings.Repeat(`"xxxxxxxxxxxx",`, n/15)+`"end"]`)
}

func TestResponseMemory_LargeResponsesWait(t *testing.T) {
	const maxBody = 4 << 20
	memory := semaphore.NewWeighted(maxBody) // room for one
	big, _ := testClient(t, Options{MaxBody: maxBody, ResponseMemory: memory}, rows(2<<20))
	small, _ := testClient(t, Options{MaxBody: maxBody, ResponseMemory: memory}, rows(512<<10))
	inside, release := make(chan struct{}), make(chan struct{})
	done := make(chan error)
	go func() {
		done <- big.Get(t.Context(), op, "/x", "/x", nil, func(d *pyjson.Decoder) error {
			var list []string
			err := d.Decode(&list)
			close(inside)
			<-release
			return err
		})
	}()
	<-inside
	var list []string
	if err := small.GetJSON(t.Context(), op, "/x", "/x", nil, &list); err != nil {
		t.Errorf("a small response waited: %v", err)
	}
	short, _ := testClient(t, Options{MaxBody: maxBody, ResponseMemory: memory, Timeout: 50 * time.Millisecond}, rows(2<<20))
	if err := short.GetJSON(t.Context(), op, "/x", "/x", nil, &list); ray.Code(err) != http.StatusRequestTimeout {
		t.Errorf("got %v for a second large response, want a timeout", err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := big.GetJSON(cancelled, op, "/x", "/x", nil, &list); err == nil {
		t.Error("a cancelled call succeeded")
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	// All of it is released, by failed calls, too.
	if err := big.GetJSON(t.Context(), op, "/x", "/x", nil, &list); err != nil || len(list) < 100_000 {
		t.Errorf("next large response: %v, %d rows", err, len(list))
	}
	if !memory.TryAcquire(maxBody) {
		t.Error("memory is still reserved")
	}
}

func TestResponseMemory_ReleasedOnClose(t *testing.T) {
	const maxBody = 4 << 20
	memory := semaphore.NewWeighted(maxBody)
	c, _ := testClient(t, Options{MaxBody: maxBody, ResponseMemory: memory}, rows(3<<20))
	res, err := c.Do(t.Context(), Request{Op: op, Endpoint: "/x", Path: "/x"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, res.Body, 2<<20); err != nil {
		t.Fatal(err)
	}
	if memory.TryAcquire(1) {
		t.Error("a large response in progress reserves no memory")
	}
	if err := res.Body.Close(); err != nil {
		t.Fatal(err)
	}
	if !memory.TryAcquire(maxBody) {
		t.Error("memory is still reserved after Close")
	}
}
