//go:build e2e && linux

package systemd

import (
	"strings"
	"testing"
)

func TestUnit_DoesNotRestartOnUsageError(t *testing.T) {
	t.Parallel()
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

func TestUnit_Reload(t *testing.T) {
	t.Parallel()
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

func TestUnit_Permissions(t *testing.T) {
	t.Parallel()
	s := install(t)
	s.must("systemctl", "start", "raytap")
	s.say(10)
	s.arrives()
	s.must("systemd-analyze", "security", "--threshold=12", "raytap.service")
	pid := s.show()["MainPID"]
	status := map[string]string{}
	for line := range strings.Lines(s.must("cat", "/proc/"+pid+"/status")) {
		key, value, _ := strings.Cut(line, ":")
		status[key] = strings.TrimSpace(value)
	}
	for key, want := range map[string]string{"CapEff": "0000000000000000", "CapBnd": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2"} {
		if status[key] != want {
			t.Errorf("raytap's %s is %q, want %q", key, status[key], want)
		}
	}
	// As the unit's processes see their files.
	if root := s.must("awk", `$5 == "/" { print $6 }`, "/proc/"+pid+"/mountinfo"); !strings.HasPrefix(root, "ro,") {
		t.Errorf("its root is mounted %q", root)
	}
	s.override("ExecStartPre=/bin/sh -c 'for d in / /etc /etc/raytap /usr/bin /var /var/log /run /sys /dev /home /root; do touch $d/raytap-was-here && exit 9; done; touch /var/lib/raytap/mine'")
	s.must("systemctl", "restart", "raytap")
	s.must("rm", "/var/lib/raytap/mine")

	// Its end is clean, and its lines are all there.
	s.say(500)
	s.must("systemctl", "stop", "raytap")
	if now := s.show(); now["ActiveState"] != "inactive" || now["Result"] != "success" || now["ExecMainStatus"] != "0" {
		t.Errorf("it is %s, with the result %s and exit code %s", now["ActiveState"], now["Result"], now["ExecMainStatus"])
	}
	s.must("systemctl", "start", "raytap")
	s.arrives()
}

func TestUnit_StdoutGoesToJournal(t *testing.T) {
	t.Parallel()
	s := install(t)
	s.configure("  file: .*", "  stdout: {}")
	s.must("systemctl", "start", "raytap")
	s.say(3)
	s.logs(`"message":"line 1"`, `"message":"line 3"`)
	was := s.show()
	// Positions are kept at the user's home, which is the folder of the unit.
	s.until("positions are saved", func() bool {
		_, err := s.try("sh", "-c", "raytap positions show /var/lib/raytap/.local/state/raytap/positions.db -o json | grep -q raysubmit_1")
		return err == nil
	})
	s.must("systemctl", "restart", "raytap")
	s.say(1)
	s.logs(`"message":"line 4"`)
	if s.show()["MainPID"] == was["MainPID"] || strings.Count(s.journal(), `"message":"line 3"`) != 1 {
		t.Error("a restart ships lines again")
	}
}

func TestUnit_SocketActivation(t *testing.T) {
	t.Parallel()
	s := install(t)
	s.write("/etc/systemd/system/raytap.socket", strings.NewReader("[Socket]\nListenStream=127.0.0.1:9300\n[Install]\nWantedBy=sockets.target\n"))
	s.override("ExecStart=\nExecStart=/usr/bin/raytap --config.file=/etc/raytap/raytap.yaml --web.systemd-socket")
	s.must("systemctl", "start", "raytap.socket")
	if state := s.show()["ActiveState"]; state != "inactive" {
		t.Errorf("before anybody asks raytap is %s", state)
	}
	// The first who asks starts it, and waits.
	if s.get("http://127.0.0.1:9300/-/healthy") == "" {
		t.Error("the page is not served on systemd's socket")
	}
	// It answers a moment before it notifies systemd that it is ready.
	s.until("raytap is active", func() bool { return s.show()["ActiveState"] == "active" })
}
