package connect

import (
	"raytap/config"
	"raytap/ray/synapse"
	"raytap/ray/transport"
)

// Synapse makes a client of a Synapse agent. It does not connect. The error names
// what of the configuration does not work.
func Synapse(c config.Cluster, o Options) (*synapse.Client, error) {
	wire, err := wireOptions(c, o)
	if err != nil {
		return nil, err
	}
	t, err := synapse.NewTransport(wire, synapse.Credentials{
		User:   secret(c.Auth.UserToken, c.Auth.UserTokenFile),
		Tenant: secret(c.Auth.Tenant, c.Auth.TenantFile),
	})
	if err != nil {
		return nil, err
	}
	return synapse.New(t, synapse.Options{Log: o.Log})
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
