package docs

import (
	"os"
	"testing"

	"raytap/test/program"
)

func TestMain(m *testing.M) { os.Exit(program.Main(m)) }
