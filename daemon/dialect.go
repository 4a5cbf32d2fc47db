package daemon

import (
	"raytap/config"
	"raytap/connect"
	"raytap/ray"
	"raytap/shipper"
)

// client is what both halves use of a cluster, whatever its API.
type client interface {
	ray.Source
	SkippedRows() uint64
	SkippedFields() uint64
	Close()
}

// ships makes the shipper of a cluster.
type ships func(shipper.Lists, *shipper.Output, shipper.Options) *shipper.Shipper

// connect makes the unit's client, and tells how its logs are shipped: Ray's own
// API gives them as bytes, an agent as messages.
func (u *unit) connect(o connect.Options) (ships, error) {
	if u.spec.cluster.API == config.APISynapse {
		c, err := connect.Synapse(u.spec.cluster, o)
		if err != nil {
			return nil, err
		}
		u.client = c
		return func(lists shipper.Lists, out *shipper.Output, o shipper.Options) *shipper.Shipper {
			return shipper.NewMessageShipper(lists, c, out, o)
		}, nil
	}
	c, err := connect.Dashboard(u.spec.cluster, o)
	if err != nil {
		return nil, err
	}
	u.client = c
	return func(lists shipper.Lists, out *shipper.Output, o shipper.Options) *shipper.Shipper {
		return shipper.New(lists, c, out, o)
	}, nil
}

// How many streams are held where the configuration does not say: WebSockets of
// Ray's own API, of an agent also SSE streams, for which it may hold a WebSocket
// of Ray's each. Without positions in a file a restart knows nothing of those
// that a killed raytap has left, which go on counting against Ray's limit of 100.
const (
	maxTailsSaved        = 32
	maxTailsMemory       = 8
	maxAgentStreams      = 64
	maxAgentStreamsInMem = 16
)

// maxTails gives that number.
func maxTails(api string, durable bool) int {
	switch {
	case api == config.APISynapse && durable:
		return maxAgentStreams
	case api == config.APISynapse:
		return maxAgentStreamsInMem
	case durable:
		return maxTailsSaved
	}
	return maxTailsMemory
}
