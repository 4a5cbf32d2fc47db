//go:build e2e && linux

// Package kuberay finds RayClusters of a real Kubernetes with the real raytap: fake heads
// behind objects that no kubelet runs, for what needs many clusters or precise timing, and
// KubeRay's operator with a real Ray in pods, for what only they can show.
package kuberay

import (
	"os"
	"testing"

	"raytap/test/realkube"
)

func TestMain(m *testing.M) { os.Exit(realkube.Main(m)) }
