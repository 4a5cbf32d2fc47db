//go:build e2e && linux

package systemd

import "testing"

// It is the longest, and so the first.
func TestUnit_RestartsRaytap(t *testing.T) {
	t.Parallel()
	s := install(t)
	// The page answers once the start has returned, and no sooner is it active.
	s.must("systemctl", "start", "raytap")
	if s.get(page+"/-/healthy") == "" {
		t.Error("the unit is active, and its page is not served")
	}
	was := s.show()
	if was["ActiveState"] != "active" || was["Type"] != "notify" {
		t.Errorf("the unit is %s, of the type %s", was["ActiveState"], was["Type"])
	}
	s.say(500)
	s.arrives()

	s.must("systemctl", "kill", "--signal=KILL", "raytap")
	s.say(500)
	s.again(was)
	s.say(100)
	s.arrives()

	// The dump of what hangs is in the journal, and no reason to stay away.
	s.override("WatchdogSec=4")
	s.must("systemctl", "restart", "raytap")
	now := s.show()
	s.must("systemctl", "kill", "--kill-whom=main", "--signal=STOP", "raytap")
	s.say(500)
	s.again(now)
	s.logs("Watchdog timeout (limit 4s)!", "goroutine 1 ")
	s.say(100)
	s.arrives()
}
