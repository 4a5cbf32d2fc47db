package daemon

import (
	"raytap/config"
	"raytap/connect"
	"raytap/ray"
	"raytap/shipper"
	"raytap/shipper/nodelogs"
	"raytap/shipper/writer"
)

// client is what collector and shipper use of a cluster, whatever its API.
type client interface {
	ray.Source
	SkippedRows() uint64
	SkippedFields() uint64
	Close()
}

// newShipperFunc returns the shipper of a cluster.
type newShipperFunc func(shipper.Lists, *writer.Writer, shipper.Options) *shipper.Shipper

// connect creates the client of the cluster, and returns the constructor of its
// shipper: Ray's API serves logs as bytes, a Synapse agent as messages.
func (c *clusterRuntime) connect(o connect.Options) (newShipperFunc, error) {
	if c.spec.cluster.API == config.APISynapse {
		client, err := connect.Synapse(c.spec.cluster, o)
		if err != nil {
			return nil, err
		}
		c.client = client
		return func(lists shipper.Lists, out *writer.Writer, o shipper.Options) *shipper.Shipper {
			return shipper.NewMessageShipper(lists, client, out, o)
		}, nil
	}
	client, err := connect.Dashboard(c.spec.cluster, o)
	if err != nil {
		return nil, err
	}
	c.client = client
	return func(lists shipper.Lists, out *writer.Writer, o shipper.Options) *shipper.Shipper {
		if c.spec.shipper.HasNodeLogs() {
			o.NodeLogs, o.Sources = client, sources(&c.spec.shipper)
		}
		return shipper.New(lists, client, out, o)
	}, nil
}

// Defaults of shipper.websocket.max_tails: WebSockets of Ray's API; of a Synapse
// agent also SSE streams, each of which may hold one of Ray's WebSockets. Without
// a positions file a restart does not know of the streams that a killed raytap
// left, which still count against Ray's limit of 100.
const (
	maxTailsSaved           = 32
	maxTailsInMemory        = 8
	maxAgentStreamsSaved    = 64
	maxAgentStreamsInMemory = 16
)

// defaultMaxTails returns the default for an API.
func defaultMaxTails(api string, positionsSaved bool) int {
	switch {
	case api == config.APISynapse && positionsSaved:
		return maxAgentStreamsSaved
	case api == config.APISynapse:
		return maxAgentStreamsInMemory
	case positionsSaved:
		return maxTailsSaved
	}
	return maxTailsInMemory
}

// sources returns which logs on nodes are shipped.
func sources(c *config.Shipper) map[string]nodelogs.Files {
	files := map[string]nodelogs.Files{}
	for source, of := range map[string]config.LogFiles{
		config.SourceWorker: {}, config.SourceServe: c.Serve, config.SourceSystem: c.System, config.SourceEvent: c.Event,
	} {
		if c.HasSource(source) {
			files[source] = nodelogs.Files{Include: of.Include, Exclude: of.Exclude}
		}
	}
	return files
}
