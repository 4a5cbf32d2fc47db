//go:build e2e && linux

package test

import (
	"strings"
	"testing"
	"time"

	"raytap/test/realray"
)

func TestAuth_Token(t *testing.T) {
	t.Parallel() // it has its own head
	const token = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	head := ownHead(t, realray.Options{CPUs: 2, Token: token})

	t.Run("no token", func(t *testing.T) {
		checkRefused(t, head, "", "401")
	})
	t.Run("wrong token", func(t *testing.T) {
		checkRefused(t, head, strings.Repeat("f", 64), "403")
	})
	t.Run("token", func(t *testing.T) {
		t.Parallel()
		// The node agent has another address than the dashboard. It must not receive
		// the token without node_agents.allow.
		checkAccepted(t, head, settings{Token: token}, "websocket")
	})
	t.Run("token for allowed node agents", func(t *testing.T) {
		t.Parallel()
		checkAccepted(t, head, settings{Token: token, NodeAgents: "auto, allow: [127.0.0.0/8]"}, "node_agent")
	})
}

// checkRefused checks that raytap reports the status code, that up is 0, and that it does
// not log the token.
func checkRefused(t *testing.T, head *realray.Head, token, code string) {
	t.Helper()
	d := startDaemon(t, head, settings{Token: token})
	eventually(t, 30*time.Second, "up is 0", func() error {
		return d.mustScrape(t).want(0, "raytap_up", "ray_cluster=e2e")
	})
	d.stop(t)
	log := d.Output.String()
	if !strings.Contains(log, code) || !strings.Contains(log, "token") {
		t.Errorf("the log lacks %s or what to do about the token:\n%s", code, log)
	}
	if token != "" && strings.Contains(log, token) {
		t.Error("the log contains the token")
	}
	t.Logf("raytap logs: %s", lineWith(log, code))
}

// lineWith returns the first line of text that contains a string.
func lineWith(text, what string) string {
	for line := range strings.Lines(text) {
		if strings.Contains(line, what) {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

// checkAccepted checks that raytap reads a log over a transport, that up is 1, and that
// it does not log the token.
func checkAccepted(t *testing.T, head *realray.Head, s settings, transport string) {
	t.Helper()
	d := startDaemon(t, head, s)
	jobs := submitAll(t, head, []printer{{Mode: "lines", Count: 500, Seconds: 20}})
	status := waitAll(t, head, time.Minute, jobs)
	d.waitEnds(t, time.Minute, ids(jobs)...)
	got, _ := d.shipped(t)
	checkRecords(t, transport, jobs[0].printer, jobs[0].id, status[jobs[0].id], got[jobs[0].id])
	p := d.mustScrape(t)
	if err := p.want(1, "raytap_up", "ray_cluster=e2e"); err != nil {
		t.Error(err)
	}
	if n, _ := p.sum("raytap_shipper_read_bytes_total", "transport="+transport); n == 0 {
		t.Errorf("no bytes read over transport %s", transport)
	}
	d.stop(t)
	if strings.Contains(d.Output.String(), s.Token) {
		t.Error("the log contains the token")
	}
}
