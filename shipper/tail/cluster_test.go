package tail

import (
	"testing"
	"time"
)

func TestCluster_RefusedUpgrade(t *testing.T) {
	cl := testCluster(t, Options{})
	now := time.Now()
	cl.webSocketRefused.Set(now)
	if !cl.upgradesRefused(now) || cl.upgradesRefused(now.Add(transportCooldown)) {
		t.Error("WebSockets are not refused for exactly transportCooldown")
	}
}
