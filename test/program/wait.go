package program

import (
	"os"
	"testing"
	"time"
)

// Eventually polls until ok returns nil. After limit it fails the test with the last
// error.
func Eventually(t testing.TB, limit time.Duration, what string, ok func() error) {
	t.Helper()
	if err := Poll(limit, ok); err != nil {
		t.Fatalf("timeout after %s: waiting until %s: %v", limit, what, err)
	}
}

// Poll calls ok every 200 ms until it returns nil. After limit it returns the last
// error.
func Poll(limit time.Duration, ok func() error) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(limit)
	for {
		err := ok()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-timeout:
			return err
		}
	}
}

// NeedRoot skips a test that does not run as root. On CI it fails the test instead,
// because there a skipped stage must not pass. why is the reason.
func NeedRoot(t testing.TB, why string) {
	t.Helper()
	if os.Getuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}
