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
		t.Errorf("a first installation leaves the unit %q", state)
	}
	if now := s.show(); now["ActiveState"] != "inactive" {
		t.Errorf("a first installation leaves the unit %s", now["ActiveState"])
	}
	if user := s.must("getent", "passwd", "raytap"); !strings.HasSuffix(user, ":/var/lib/raytap:/usr/sbin/nologin\n") {
		t.Errorf("the user is %q", user)
	}
	s.must("raytap", "config", "check", "/etc/raytap/raytap.yaml")
	s.must("systemctl", "enable", "--now", "raytap")
	was := s.show()
	s.say(50)
	s.arrives()
	// Who follows the file is a member of the group.
	if got := s.sh(`stat -c '%U:%G %a' /var/lib/raytap /var/lib/raytap/raytap.jsonl`); got != "raytap:raytap 750\nraytap:raytap 640\n" {
		t.Errorf("the folder and the file belong to %q", got)
	}

	configuration := s.must("cat", "/etc/raytap/raytap.yaml")
	newer := s.put(deb(t, "1.2.4"), "/tmp")
	s.must("dpkg", "-i", newer)
	now := s.show()
	if now["ActiveState"] != "active" || now["MainPID"] == was["MainPID"] {
		t.Errorf("after an update raytap is %s, the same as before: %t", now["ActiveState"], now["MainPID"] == was["MainPID"])
	}
	if s.must("cat", "/etc/raytap/raytap.yaml") != configuration {
		t.Error("an update changes the configuration")
	}
	s.say(50)
	s.arrives()

	s.must("dpkg", "-r", "raytap")
	if s.get(page+"/-/healthy") != "" {
		t.Error("raytap runs on without its package")
	}
	if s.must("cat", "/etc/raytap/raytap.yaml") != configuration {
		t.Error("the configuration goes with the package")
	}
	// It comes back as it was, but for its start.
	s.must("dpkg", "-i", newer)
	s.say(50)
	s.must("systemctl", "enable", "--now", "raytap")
	s.arrives()
	s.must("dpkg", "-r", "raytap")
	const kept = "cksum /var/lib/raytap/raytap.jsonl /var/lib/raytap/raytap.jsonl.positions.db"
	state := s.sh(kept)

	s.must("dpkg", "-P", "raytap")
	if s.sh(kept) != state {
		t.Error("a purge takes lines or positions")
	}
	if left := s.sh(`find / -xdev \( -path /proc -o -path /sys -o -path /tmp -o -path /var/log \) -prune -o -name '*raytap*' -print | sort`); left != "/var/lib/raytap\n"+
		"/var/lib/raytap/raytap.jsonl\n/var/lib/raytap/raytap.jsonl.positions.db\n" {
		t.Errorf("a purge leaves\n%s", left)
	}
	if left := s.must("systemctl", "list-units", "--all", "--plain", "--no-legend", "raytap*"); left != "" {
		t.Errorf("systemd still knows %s", left)
	}
}
