package completion_test

import (
	"os"
	"testing"

	"raytap/test/program"
)

func TestMain(m *testing.M) { os.Exit(program.Main(m)) }
