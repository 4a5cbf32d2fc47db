// Package delivery tests, with the raytap binary and a fake cluster, that no log line is
// lost or duplicated: across kills, restarts, rotation, full disks and renamed files.
package delivery

import (
	"os"
	"testing"

	"raytap/test/program"
)

func TestMain(m *testing.M) { os.Exit(program.Main(m)) }
