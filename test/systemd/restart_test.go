//go:build e2e && linux

package systemd

import "testing"

// This is the longest test, so it starts first.
func TestUnit_RestartsRaytap(t *testing.T) {
	t.Parallel()
	s := install(t)
	// The unit is active only when raytap serves HTTP.
	s.must("systemctl", "start", "raytap")
	if s.get(url+"/-/healthy") == "" {
		t.Error("the unit is active, but raytap does not serve HTTP")
	}
	before := s.show()
	if before["ActiveState"] != "active" || before["Type"] != "notify" {
		t.Errorf("the unit is %s, its type is %s", before["ActiveState"], before["Type"])
	}
	s.print(500)
	s.awaitLines()

	s.must("systemctl", "kill", "--signal=KILL", "raytap")
	s.print(500)
	s.awaitRestart(before)
	s.print(100)
	s.awaitLines()

	// After a watchdog timeout the journal has a goroutine dump, and systemd restarts raytap.
	s.override("WatchdogSec=4")
	s.must("systemctl", "restart", "raytap")
	before = s.show()
	s.must("systemctl", "kill", "--kill-whom=main", "--signal=STOP", "raytap")
	s.print(500)
	s.awaitRestart(before)
	s.awaitLog("Watchdog timeout (limit 4s)!", "goroutine 1 ")
	s.print(100)
	s.awaitLines()
}
