package ray_test

import (
	"testing"
	"time"

	"raytap/ray"
)

func TestUpgradeRefusals(t *testing.T) {
	var r ray.UpgradeRefusals
	now := time.Now()
	if r.Recent(now) {
		t.Error("a refusal is remembered that never was")
	}
	r.Note(now)
	if !r.Recent(now.Add(5*time.Minute-1)) || r.Recent(now.Add(5*time.Minute)) {
		t.Error("a refusal is not remembered for exactly five minutes")
	}
}
