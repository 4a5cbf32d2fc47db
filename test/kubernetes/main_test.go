//go:build e2e && linux

// Package kubernetes installs raytap on a real Kubernetes cluster of one node, with the
// commands in docs/kubernetes.md.
package kubernetes

import (
	"os"
	"testing"

	"raytap/test/realkube"
)

func TestMain(m *testing.M) { os.Exit(realkube.Main(m)) }
