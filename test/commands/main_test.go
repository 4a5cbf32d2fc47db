// Package commands tests the commands of the raytap binary on fake clusters.
package commands

import (
	"os"
	"testing"

	"raytap/test/program"
)

func TestMain(m *testing.M) { os.Exit(program.Main(m)) }
