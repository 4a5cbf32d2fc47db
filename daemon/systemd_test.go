package daemon

import (
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"raytap/config"
)

// manager returns systemd's end of the notification socket.
func manager(t *testing.T, watchdog string) *net.UnixConn {
	t.Helper()
	address := &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"}
	c, err := net.ListenUnixgram("unixgram", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	t.Setenv("NOTIFY_SOCKET", address.Name)
	t.Setenv("WATCHDOG_USEC", watchdog)
	return c
}

// hear returns the next state that the daemon sends, "" if none comes in time.
func hear(t *testing.T, c *net.UnixConn, within time.Duration) string {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 256)
	n, err := c.Read(b)
	if err != nil {
		return ""
	}
	return string(b[:n])
}

func TestSystemd_Notify(t *testing.T) {
	c := manager(t, "200000")
	hs := heads(t, "prod")
	h := open(t, configure(t, hs, "prod"), nil)
	for _, want := range []string{"STATUS=watching 1 cluster", "READY=1", "WATCHDOG=1", "WATCHDOG=1"} {
		if got := hear(t, c, 15*time.Second); got != want {
			t.Fatalf("systemd gets %q, want %q", got, want)
		}
	}
	if code, _ := h.get("/-/healthy"); code != 200 {
		t.Error("READY was sent before the server was up")
	}
	h.stop()
	for state := ""; state != "STOPPING=1"; {
		if state = hear(t, c, 15*time.Second); state == "" {
			t.Fatal("systemd gets no STOPPING")
		}
	}
	if err := h.ended(); err != nil {
		t.Error(err)
	}
}

func TestSystemd_Watchdog(t *testing.T) {
	c := manager(t, "100000")
	hs := heads(t, "prod")
	h := open(t, configure(t, hs, "prod"), nil)
	for state := ""; state != "WATCHDOG=1"; {
		if state = hear(t, c, 15*time.Second); state == "" {
			t.Fatal("the watchdog is not fed at all")
		}
	}
	// A reload that does not end blocks the loop of Run.
	hung, released := make(chan struct{}), make(chan struct{})
	release := sync.OnceFunc(func() { close(released) })
	defer release()
	h.d.o.Load = func() (config.Config, error) { close(hung); <-released; return h.next, nil }
	done := make(chan error, 1)
	go func() { done <- h.d.Reload(t.Context()) }()
	<-hung
	for n := 0; hear(t, c, time.Second) != ""; n++ {
		if n > 10 { // a few may have been sent before
			t.Fatal("the watchdog is fed while the loop is blocked")
		}
	}
	release()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := hear(t, c, 15*time.Second); got != "STATUS=watching 1 cluster" {
		t.Errorf("after a reload systemd gets %q", got)
	}
	if got := hear(t, c, 15*time.Second); got != "WATCHDOG=1" {
		t.Errorf("after the block systemd gets %q, want WATCHDOG=1", got)
	}
}
