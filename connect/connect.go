// Package connect makes the client of a cluster from what the configuration
// says of it, for the daemon and for the operator's commands alike.
package connect

import (
	"net/netip"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/semaphore"

	"raytap/config"
	"raytap/ray/dashboard"
	"raytap/ray/transport"
)

// Options are what a client needs beside its cluster's configuration.
type Options struct {
	// Version is raytap's own, for the User-Agent; "" is raytap's name alone.
	Version string
	// Observe is told of each call that ended, as transport.Options has it; nil
	// is nobody.
	Observe func(endpoint string, code int, took time.Duration)
	// ResponseMemory is what big answers of all clients together may take, as
	// transport.Options has it; nil is no bound.
	ResponseMemory *semaphore.Weighted
	// Log gets what an answer lacked; nil is nobody.
	Log logrus.FieldLogger
}

// Dashboard makes a client of Ray's dashboard. It does not connect. The error
// names what of the configuration does not work.
func Dashboard(c config.Cluster, o Options) (*dashboard.Client, error) {
	wire, err := wireOptions(c, o)
	if err != nil {
		return nil, err
	}
	wire.Scheme = "Bearer "
	t, err := transport.New(wire)
	if err != nil {
		return nil, err
	}
	agents := dashboard.NodeAgents{Mode: c.NodeAgents.Mode, Allow: make([]netip.Prefix, len(c.NodeAgents.Allow))}
	for i, p := range c.NodeAgents.Allow {
		agents.Allow[i] = p.Prefix
	}
	return dashboard.New(t, dashboard.Options{NodeAgents: agents, Log: o.Log})
}

// wireOptions says how the transport of a cluster is made, whatever its dialect.
func wireOptions(c config.Cluster, o Options) (transport.Options, error) {
	tls, err := transport.TLSOptions{
		CAFile: string(c.TLS.CAFile), CertFile: string(c.TLS.CertFile), KeyFile: string(c.TLS.KeyFile),
		ServerName: c.TLS.ServerName, InsecureSkipVerify: c.TLS.InsecureSkipVerify,
	}.Config()
	if err != nil {
		return transport.Options{}, err
	}
	agent := "raytap"
	if o.Version != "" {
		agent += "/" + o.Version
	}
	return transport.Options{
		URL: string(c.URL), Token: token(c.Auth), Headers: headers(c.Headers), TLS: tls,
		ProxyURL: string(c.ProxyURL), Timeout: time.Duration(c.Timeout), MaxConcurrent: c.MaxConcurrent,
		MaxBody: int64(c.MaxBody), UserAgent: agent, Observe: o.Observe, ResponseMemory: o.ResponseMemory,
	}, nil
}

func token(a config.Auth) transport.TokenSource {
	switch {
	case a.Environment:
		return transport.EnvToken()
	case a.TokenFile != "":
		return transport.FileToken(string(a.TokenFile))
	case a.Token != "":
		return transport.StaticToken(string(a.Token))
	}
	return nil
}

func headers(m map[string]config.Secret) map[string]string {
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[k] = string(v)
	}
	return out
}
