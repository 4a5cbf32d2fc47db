//go:build e2e && linux

package systemd

import (
	"strings"
	"testing"
)

func TestPackage_Lifecycle(t *testing.T) {
	t.Parallel()
	s := install(t)
	if state, _ := s.try("systemctl", "is-enabled", "raytap"); state != "disabled\n" {
		t.Errorf("after the first installation the unit is %q", state)
	}
	if now := s.show(); now["ActiveState"] != "inactive" {
		t.Errorf("after the first installation the unit is %s", now["ActiveState"])
	}
	if user := s.must("getent", "passwd", "raytap"); !strings.HasSuffix(user, ":/var/lib/raytap:/usr/sbin/nologin\n") {
		t.Errorf("the user is %q", user)
	}
	s.must("raytap", "config", "check", "/etc/raytap/raytap.yaml")
	s.must("systemctl", "enable", "--now", "raytap")
	before := s.show()
	s.print(50)
	s.awaitLines()
	// Programs that follow the file are members of the group.
	if got := s.sh(`stat -c '%U:%G %a' /var/lib/raytap /var/lib/raytap/raytap.jsonl`); got != "raytap:raytap 750\nraytap:raytap 640\n" {
		t.Errorf("owner and mode of the directory and the file: %q", got)
	}

	configuration := s.must("cat", "/etc/raytap/raytap.yaml")
	newer := s.put(deb(t, "1.2.4"), "/tmp")
	s.must("dpkg", "-i", newer)
	now := s.show()
	if now["ActiveState"] != "active" || now["MainPID"] == before["MainPID"] {
		t.Errorf("after an upgrade raytap is %s, the same process: %t", now["ActiveState"], now["MainPID"] == before["MainPID"])
	}
	if s.must("cat", "/etc/raytap/raytap.yaml") != configuration {
		t.Error("an upgrade changes the configuration")
	}
	s.print(50)
	s.awaitLines()

	s.must("dpkg", "-r", "raytap")
	if s.get(url+"/-/healthy") != "" {
		t.Error("raytap still runs after the removal of its package")
	}
	if s.must("cat", "/etc/raytap/raytap.yaml") != configuration {
		t.Error("the removal of the package changes the configuration")
	}
	// A new installation keeps the configuration and the state.
	s.must("dpkg", "-i", newer)
	s.print(50)
	s.must("systemctl", "enable", "--now", "raytap")
	s.awaitLines()
	s.must("dpkg", "-r", "raytap")
	const kept = "cksum /var/lib/raytap/raytap.jsonl /var/lib/raytap/raytap.jsonl.positions.db"
	state := s.sh(kept)

	s.must("dpkg", "-P", "raytap")
	if s.sh(kept) != state {
		t.Error("a purge changes the sink file or the positions")
	}
	if rest := s.sh(`find / -xdev \( -path /proc -o -path /sys -o -path /tmp -o -path /var/log \) -prune -o -name '*raytap*' -print | sort`); rest != "/var/lib/raytap\n"+
		"/var/lib/raytap/raytap.jsonl\n/var/lib/raytap/raytap.jsonl.positions.db\n" {
		t.Errorf("a purge leaves\n%s", rest)
	}
	if rest := s.must("systemctl", "list-units", "--all", "--plain", "--no-legend", "raytap*"); rest != "" {
		t.Errorf("systemd still has the units %s", rest)
	}
}
