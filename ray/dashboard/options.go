package dashboard

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/sirupsen/logrus"
)

// The modes of NodeAgents; "" is auto.
const (
	NodeAgentsAuto = "auto"
	NodeAgentsOn   = "on"
	NodeAgentsOff  = "off"
)

// NodeAgents sets which node agents may be connected to, and so may receive the
// token: with a token, auto connects only to addresses in Allow, or to the API host
// itself if the API is plain http too.
//
// Own, if it is set, reports which addresses are those of the cluster's own nodes: only
// these are connected to, with the token, whatever Mode and Allow are, unless Mode is off.
// It is called for each request, by several goroutines at once.
type NodeAgents struct {
	Mode  string
	Allow []netip.Prefix
	Own   func(netip.Addr) bool
}

// Options configure a Client. The zero value is valid.
type Options struct {
	NodeAgents NodeAgents
	// Log receives warnings about incomplete responses, each kind at most once a
	// minute; nil disables them.
	Log logrus.FieldLogger
}

func (o *Options) check() error {
	switch o.NodeAgents.Mode {
	case "":
		o.NodeAgents.Mode = NodeAgentsAuto
	case NodeAgentsAuto, NodeAgentsOn, NodeAgentsOff:
	default:
		return fmt.Errorf("node_agents.mode is %q: it must be auto, on or off", o.NodeAgents.Mode)
	}
	for _, p := range o.NodeAgents.Allow {
		if !p.IsValid() {
			return errors.New("node_agents.allow has an invalid network")
		}
	}
	return nil
}
