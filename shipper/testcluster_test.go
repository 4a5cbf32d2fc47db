package shipper

import (
	"context"
	"errors"
	"io"
	"testing"

	"raytap/ray"
	"raytap/shipper/sink"
)

// noAPI is a cluster of which nothing can be requested.
type noAPI struct{ Client }

func (noAPI) Nodes(context.Context) ([]ray.Node, error) { return nil, errors.New("no nodes") }
func (noAPI) LogTransports() ray.LogTransports          { return ray.LogTransports{} }

// testCluster returns what the tails of a cluster share, with a writer to nowhere.
func testCluster(t *testing.T, o TailOptions) *tailCluster {
	t.Helper()
	out := NewOutput(sink.NewStdout(io.Discard), OutputOptions{})
	return newTailCluster(noAPI{}, noAPI{}, noAPI{}, nil, out, o.withDefaults())
}
