// Package connect creates the client of a cluster from its configuration, for the
// daemon and the commands.
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

// Options are what a client needs in addition to its cluster's configuration.
type Options struct {
	// Version is raytap's own, for the User-Agent; "" omits it.
	Version string
	// Observe is called after each call: see transport.Options. nil observes nothing.
	Observe func(endpoint string, code int, took time.Duration)
	// ResponseMemory is shared by the large responses of all clients: see
	// transport.Options. nil means no bound.
	ResponseMemory *semaphore.Weighted
	// Live is what may change while the client is used; the zero value: nothing.
	Live Live
	// Log gets warnings about incomplete responses; nil logs nothing.
	Log logrus.FieldLogger
}

// Live replaces settings of a cluster that may change while its client is used. What is nil
// is as configured. The functions are called by several goroutines at once.
type Live struct {
	Address func() (string, error) // see transport.Options
	Token   transport.TokenSource  // Ray's only
	Agents  func(netip.Addr) bool  // the addresses of the cluster's own nodes
}

// Dashboard returns a client of Ray's dashboard. It does not connect. The error names
// what is wrong in the configuration.
func Dashboard(c config.Cluster, o Options) (*dashboard.Client, error) {
	options, err := transportOptions(c, o)
	if err != nil {
		return nil, err
	}
	options.Scheme = "Bearer "
	options.Address, options.Agents = o.Live.Address, o.Live.Agents
	if o.Live.Token != nil {
		options.Token = o.Live.Token
	}
	t, err := transport.New(options)
	if err != nil {
		return nil, err
	}
	agents := dashboard.NodeAgents{Mode: c.NodeAgents.Mode, Allow: make([]netip.Prefix, len(c.NodeAgents.Allow)), Own: o.Live.Agents}
	for i, p := range c.NodeAgents.Allow {
		agents.Allow[i] = p.Prefix
	}
	return dashboard.New(t, dashboard.Options{NodeAgents: agents, Log: o.Log})
}

// transportOptions returns the options of a cluster's transport, for any API.
func transportOptions(c config.Cluster, o Options) (transport.Options, error) {
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
