package tail

import (
	"context"
	"errors"
	"io"
	"testing"

	"raytap/shipper/writer"

	"raytap/ray"
	"raytap/shipper/sink"
)

// noAPI is a cluster of which nothing can be requested.
type noAPI struct{ Client }

func (noAPI) Nodes(context.Context) ([]ray.Node, error) { return nil, errors.New("no nodes") }
func (noAPI) LogTransports() ray.LogTransports          { return ray.LogTransports{} }

// testCluster returns what the tails of a cluster share, with a writer to nowhere.
func testCluster(t *testing.T, o Options) *Cluster {
	t.Helper()
	out := writer.New(sink.NewStdout(io.Discard), writer.Options{})
	return NewCluster(noAPI{}, noAPI{}, noAPI{}, nil, out, o.WithDefaults())
}
