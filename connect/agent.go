package connect

import (
	"raytap/config"
	"raytap/ray/agent"
	"raytap/ray/transport"
)

// Agent makes a client of a Synapse agent. It does not connect. The error names
// what of the configuration does not work.
func Agent(c config.Cluster, o Options) (*agent.Client, error) {
	wire, err := wireOptions(c, o)
	if err != nil {
		return nil, err
	}
	t, err := agent.NewTransport(wire, agent.Credentials{
		User:   secret(c.Auth.UserToken, c.Auth.UserTokenFile),
		Tenant: secret(c.Auth.Tenant, c.Auth.TenantFile),
	})
	if err != nil {
		return nil, err
	}
	return agent.New(t, agent.Options{Log: o.Log})
}

// secret is a token that stands in the configuration or in a file; nil is none.
func secret(value config.Secret, file config.Path) transport.TokenSource {
	switch {
	case file != "":
		return transport.FileToken(string(file))
	case value != "":
		return transport.StaticToken(string(value))
	}
	return nil
}
