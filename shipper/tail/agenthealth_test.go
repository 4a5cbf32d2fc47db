package tail

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"raytap/ray"
)

func TestAgentHealth_Refusals(t *testing.T) {
	now := time.Now()
	for reason, err := range map[string]error{
		"token": ray.ErrTokenWithheld, "off": ray.ErrAgentsDisabled, "not_allowed": ray.ErrAgentNotAllowed,
		"not_live": ray.ErrAgentNotAlive, "address": ray.ErrAgentAddress,
		"denied": &ray.Error{Code: 401}, "": &ray.Error{Code: 503},
	} {
		if !errors.Is(err, ray.ErrTransportNotAllowed) && reason != "denied" && reason != "" {
			t.Errorf("%s: the error is not an ErrTransportNotAllowed", reason)
		}
		h := agentHealth{down: map[string]downAgent{}}
		h.markDown("http://10.0.0.1:52365", &ray.Error{Code: 503}, now)
		if len(h.refused(now)) > 0 {
			t.Error("an unreachable agent counts as refused")
		}
		h.markDown("http://10.0.0.1:52365", err, now)
		h.markDown("http://10.0.0.1:52365/", err, now)
		want := map[string]int{reason: 1}
		if reason == "" {
			want = map[string]int{}
		}
		if got := h.refused(now); !maps.Equal(got, want) {
			t.Errorf("%q: refused agents %v, want %v", reason, got, want)
		}
		if got := h.refused(now.Add(2*transportCooldown + time.Second)); len(got) > 0 || len(h.down) > 0 {
			t.Errorf("%q: refused agents %v long after the last try, want none", reason, got)
		}
		h.markDown("http://10.0.0.1:52365", err, now)
		h.markUp("http://10.0.0.1:52365")
		if got := h.refused(now); len(got) > 0 {
			t.Errorf("%q: refused agents %v after a response, want none", reason, got)
		}
	}
	if strings.Contains(refusalOf(errAgentDown), "token") {
		t.Error("errAgentDown counts as a refusal of its own")
	}
}
