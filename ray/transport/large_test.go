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

// rows answers with a list of n bytes or a little more.
func rows(n int) http.HandlerFunc {
	return answer(http.StatusOK, "application/json", "["+strings.Repeat(`"xxxxxxxxxxxx",`, n/15)+`"end"]`)
}

func TestBigAnswersTakeTurns(t *testing.T) {
	const maxBody = 4 << 20
	large := semaphore.NewWeighted(maxBody) // room for one
	big, _ := testClient(t, Options{MaxBody: maxBody, ResponseMemory: large}, rows(2<<20))
	small, _ := testClient(t, Options{MaxBody: maxBody, ResponseMemory: large}, rows(512<<10))
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
		t.Errorf("a small answer waits: %v", err)
	}
	impatient, _ := testClient(t, Options{MaxBody: maxBody, ResponseMemory: large, Timeout: 50 * time.Millisecond}, rows(2<<20))
	if err := impatient.GetJSON(t.Context(), op, "/x", "/x", nil, &list); ray.Code(err) != http.StatusRequestTimeout {
		t.Errorf("a second big answer gives %v, want a timeout", err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := big.GetJSON(cancelled, op, "/x", "/x", nil, &list); err == nil {
		t.Error("a call that was given up has an answer")
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	// All of it is given back, also by the calls that failed.
	if err := big.GetJSON(t.Context(), op, "/x", "/x", nil, &list); err != nil || len(list) < 100_000 {
		t.Errorf("the next big answer: %v, %d rows", err, len(list))
	}
	if !large.TryAcquire(maxBody) {
		t.Error("something is still held")
	}
}

func TestABigAnswerThatIsClosedEarlyHoldsNothing(t *testing.T) {
	const maxBody = 4 << 20
	large := semaphore.NewWeighted(maxBody)
	c, _ := testClient(t, Options{MaxBody: maxBody, ResponseMemory: large}, rows(3<<20))
	res, err := c.Do(t.Context(), Request{Op: op, Endpoint: "/x", Path: "/x"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, res.Body, 2<<20); err != nil {
		t.Fatal(err)
	}
	if large.TryAcquire(1) {
		t.Error("a big answer in progress holds nothing")
	}
	if err := res.Body.Close(); err != nil {
		t.Fatal(err)
	}
	if !large.TryAcquire(maxBody) {
		t.Error("it holds something after it was closed")
	}
}
