//go:build !unix

package cli

import (
	"context"
	"os"
)

// waitReaderGone is not implemented here: the next write fails instead.
func waitReaderGone(ctx context.Context, _ *os.File) bool {
	<-ctx.Done()
	return false
}
