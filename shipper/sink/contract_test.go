package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if runHelper() {
		return
	}
	goleak.VerifyTestMain(m)
}

// subject is one implementation under test.
type subject struct {
	Sink
	// got returns all that was written, once the sink is closed.
	got func() []byte
}

// testContract tests what Sink documents.
func testContract(t *testing.T, open func(t *testing.T) subject) {
	t.Run("records are whole and in order", func(t *testing.T) {
		s := open(t)
		var want bytes.Buffer
		for i := range 300 {
			var p []byte
			for j := range i % 7 {
				p = fmt.Appendf(p, "record %d.%d %s\n", i, j, bytes.Repeat([]byte("x"), i*j%5000))
			}
			want.Write(p)
			if err := s.Write(t.Context(), p); err != nil {
				t.Fatal(err)
			}
		}
		mustClose(t, s)
		if got := s.got(); !bytes.Equal(got, want.Bytes()) {
			t.Errorf("got %d bytes, which differ from the %d bytes written", len(got), want.Len())
		}
	})
	t.Run("a batch larger than any buffer", func(t *testing.T) {
		s := open(t)
		p := bytes.Repeat([]byte("0123456789abcde\n"), 1<<16)
		if err := s.Write(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		mustClose(t, s)
		if got := s.got(); !bytes.Equal(got, p) {
			t.Errorf("got %d bytes, which differ from the %d bytes written", len(got), len(p))
		}
	})
	t.Run("the caller may change p after Write", func(t *testing.T) {
		s := open(t)
		p := []byte("first\n")
		if err := s.Write(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		copy(p, "wrong\n")
		mustClose(t, s)
		if got := s.got(); string(got) != "first\n" {
			t.Errorf("got %q, want %q", got, "first\n")
		}
	})
	t.Run("a cancelled ctx writes nothing and leaves the sink usable", func(t *testing.T) {
		s := open(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := s.Write(ctx, []byte("a\n"))
		if !errors.Is(err, context.Canceled) || errors.Is(err, ErrFailed) {
			t.Errorf("got %v, want only ctx's error", err)
		}
		if err := s.Write(t.Context(), []byte("b\n")); err != nil {
			t.Error(err)
		}
		mustClose(t, s)
		if got := s.got(); string(got) != "b\n" {
			t.Errorf("got %q, want %q", got, "b\n")
		}
	})
	t.Run("Write after Close", func(t *testing.T) {
		s := open(t)
		mustClose(t, s)
		mustClose(t, s)
		if err := s.Write(t.Context(), []byte("a\n")); !errors.Is(err, ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
		if got := s.got(); len(got) != 0 {
			t.Errorf("got %q, want nothing", got)
		}
	})
}

func mustClose(t *testing.T, s Sink) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}
