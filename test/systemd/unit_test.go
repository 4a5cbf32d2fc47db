//go:build e2e && linux

package systemd

import (
	"strings"
	"testing"
)

func TestTheUnitBringsRaytapBack(t *testing.T) {
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
	now := s.again(1, was)
	s.say(100)
	s.arrives()

	// The dump of what hangs is in the journal, and no reason to stay away.
	s.override("WatchdogSec=2")
	s.must("systemctl", "restart", "raytap")
	now = s.show()
	s.must("systemctl", "kill", "--kill-whom=main", "--signal=STOP", "raytap")
	s.say(500)
	s.again(1, now)
	s.logs("Watchdog timeout (limit 2s)!", "goroutine 1 ")
	s.say(100)
	s.arrives()
}

func TestTheUnitStaysDownWhereARestartWouldNotHelp(t *testing.T) {
	s := install(t)
	s.configure("listen_addresses", "listen_adresses")
	if _, err := s.try("systemctl", "start", "raytap"); err == nil {
		t.Error("a start with a wrong configuration succeeds")
	}
	now := s.show()
	if now["ActiveState"] != "failed" || now["ExecMainStatus"] != "2" || now["NRestarts"] != "0" {
		t.Errorf("it is %s, with the exit code %s, restarted %s times", now["ActiveState"], now["ExecMainStatus"], now["NRestarts"])
	}
	s.logs("listen_adresses")
}

func TestAReload(t *testing.T) {
	s := install(t)
	s.must("systemctl", "start", "raytap")
	was := s.show()
	s.say(10)
	s.arrives()

	s.configure("name: default", "name: [broken")
	if _, err := s.try("systemctl", "reload", "raytap"); err == nil {
		t.Error("a reload of a wrong configuration succeeds")
	}
	s.logs("configuration not reloaded: ")
	s.say(10)
	s.arrives()
	if now := s.show(); !strings.Contains(now["StatusText"], "not reloaded") {
		t.Errorf("systemctl status says %q after a reload that failed", now["StatusText"])
	}

	s.configure("name: .*", "name: renamed")
	s.must("systemctl", "reload", "raytap")
	s.logs("configuration reloaded")
	s.until("the page tells of the new name", func() bool {
		return strings.Contains(s.get(page+"/metrics"), `ray_cluster="renamed"`)
	})
	now := s.show()
	if now["MainPID"] != was["MainPID"] || now["NRestarts"] != "0" {
		t.Error("a reload is a restart")
	}
	if want := "watches 1 cluster"; now["StatusText"] != want {
		t.Errorf("systemctl status says %q, want %q", now["StatusText"], want)
	}
}
