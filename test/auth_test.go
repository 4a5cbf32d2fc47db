//go:build e2e && linux

package test

import (
	"strings"
	"testing"
	"time"

	"raytap/test/realray"
)

func TestAuth_Token(t *testing.T) {
	t.Parallel() // its head is its own
	const token = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	head, err := startHead(realray.Options{CPUs: 2, Token: token})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := head.Stop(); err != nil {
			t.Error(err)
		}
	})

	t.Run("without a token the operator reads 401 and up is 0", func(t *testing.T) {
		refused(t, head, "", "401")
	})
	t.Run("with a wrong token the operator reads 403 and up is 0", func(t *testing.T) {
		refused(t, head, strings.Repeat("f", 64), "403")
	})
	t.Run("with the token lines come by the dashboard", func(t *testing.T) {
		t.Parallel()
		// The agent is on another address than the dashboard, and the token
		// must not be shown to it unasked.
		accepted(t, head, settings{Token: token}, "websocket")
	})
	t.Run("with the token and leave to use agents lines come by the agent", func(t *testing.T) {
		t.Parallel()
		accepted(t, head, settings{Token: token, NodeAgents: "auto, allow: [127.0.0.0/8]"}, "node_agent")
	})
}

func refused(t *testing.T, head *realray.Head, token, code string) {
	t.Helper()
	d := startDaemon(t, head, settings{Token: token})
	eventually(t, 30*time.Second, "up is 0", func() error {
		return d.mustPage(t).want(0, "raytap_up", "ray_cluster=e2e")
	})
	d.stop(t)
	said := d.Output.String()
	if !strings.Contains(said, code) || !strings.Contains(said, "token") {
		t.Errorf("stderr does not say %s and what to do about the token:\n%s", code, said)
	}
	if token != "" && strings.Contains(said, token) {
		t.Error("stderr shows the token")
	}
	t.Logf("raytap says: %s", firstWith(said, code))
}

func firstWith(text, what string) string {
	for line := range strings.Lines(text) {
		if strings.Contains(line, what) {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

func accepted(t *testing.T, head *realray.Head, s settings, way string) {
	t.Helper()
	d := startDaemon(t, head, s)
	jobs := submitAll(t, head, []printer{{Mode: "lines", Count: 500, Seconds: 20}})
	status := waitAll(t, head, time.Minute, jobs)
	d.waitEnds(t, time.Minute, ids(jobs)...)
	got, _ := d.shipped(t)
	checkStream(t, way, jobs[0].printer, jobs[0].id, status[jobs[0].id], got[jobs[0].id])
	p := d.mustPage(t)
	if err := p.want(1, "raytap_up", "ray_cluster=e2e"); err != nil {
		t.Error(err)
	}
	if n, _ := p.sum("raytap_shipper_read_bytes_total", "transport="+way); n == 0 {
		t.Errorf("nothing was read by way %s", way)
	}
	d.stop(t)
	if strings.Contains(d.Output.String(), s.Token) {
		t.Error("stderr shows the token")
	}
}
