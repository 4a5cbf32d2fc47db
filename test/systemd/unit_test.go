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
		t.Error("a start with an invalid configuration succeeds")
	}
	now := s.show()
	if now["ActiveState"] != "failed" || now["ExecMainStatus"] != "2" || now["NRestarts"] != "0" {
		t.Errorf("the unit is %s, exit code %s, restarted %s times", now["ActiveState"], now["ExecMainStatus"], now["NRestarts"])
	}
	s.awaitLog("listen_adresses")
}

func TestUnit_Reload(t *testing.T) {
	t.Parallel()
	s := install(t)
	s.must("systemctl", "start", "raytap")
	before := s.show()
	s.print(10)
	s.awaitLines()

	s.configure("name: default", "name: [broken")
	if _, err := s.try("systemctl", "reload", "raytap"); err == nil {
		t.Error("a reload of an invalid configuration succeeds")
	}
	s.awaitLog("Configuration not reloaded")
	s.print(10)
	s.awaitLines()
	if now := s.show(); !strings.Contains(now["StatusText"], "reload failed") {
		t.Errorf("the status text after a failed reload is %q", now["StatusText"])
	}

	s.configure("name: .*", "name: renamed")
	s.must("systemctl", "reload", "raytap")
	s.awaitLog("Configuration reloaded")
	s.until("the metrics have the new name", func() bool {
		return strings.Contains(s.get(url+"/metrics"), `ray_cluster="renamed"`)
	})
	now := s.show()
	if now["MainPID"] != before["MainPID"] || now["NRestarts"] != "0" {
		t.Error("the reload restarts raytap")
	}
	if want := "watching 1 cluster"; now["StatusText"] != want {
		t.Errorf("the status text is %q, want %q", now["StatusText"], want)
	}
}

func TestUnit_Permissions(t *testing.T) {
	t.Parallel()
	s := install(t)
	s.must("systemctl", "start", "raytap")
	s.print(10)
	s.awaitLines()
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
	// The mount namespace of the unit.
	if root := s.must("awk", `$5 == "/" { print $6 }`, "/proc/"+pid+"/mountinfo"); !strings.HasPrefix(root, "ro,") {
		t.Errorf("the mount options of the root are %q", root)
	}
	s.override("ExecStartPre=/bin/sh -c 'for d in / /etc /etc/raytap /usr/bin /var /var/log /run /sys /dev /home /root; do touch $d/raytap-test && exit 9; done; touch /var/lib/raytap/test'")
	s.must("systemctl", "restart", "raytap")
	s.must("rm", "/var/lib/raytap/test")

	// The exit is clean, and no line is lost.
	s.print(500)
	s.must("systemctl", "stop", "raytap")
	if now := s.show(); now["ActiveState"] != "inactive" || now["Result"] != "success" || now["ExecMainStatus"] != "0" {
		t.Errorf("the unit is %s, result %s, exit code %s", now["ActiveState"], now["Result"], now["ExecMainStatus"])
	}
	s.must("systemctl", "start", "raytap")
	s.awaitLines()
}

func TestUnit_StdoutGoesToJournal(t *testing.T) {
	t.Parallel()
	s := install(t)
	s.configure("  file: .*", "  stdout: {}")
	s.must("systemctl", "start", "raytap")
	s.print(3)
	s.awaitLog(`"message":"line 1"`, `"message":"line 3"`)
	before := s.show()
	// The default positions file is in the user's home, the directory of the unit.
	s.until("positions are saved", func() bool {
		_, err := s.try("sh", "-c", "raytap positions show /var/lib/raytap/.local/state/raytap/positions.db -o json | grep -q raysubmit_1")
		return err == nil
	})
	s.must("systemctl", "restart", "raytap")
	s.print(1)
	s.awaitLog(`"message":"line 4"`)
	if s.show()["MainPID"] == before["MainPID"] || strings.Count(s.journal(), `"message":"line 3"`) != 1 {
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
		t.Errorf("before the first request raytap is %s", state)
	}
	// The first request starts raytap, and waits.
	if s.get("http://127.0.0.1:9300/-/healthy") == "" {
		t.Error("raytap does not serve HTTP on systemd's socket")
	}
	// raytap serves HTTP before it notifies systemd.
	s.until("raytap is active", func() bool { return s.show()["ActiveState"] == "active" })
}
