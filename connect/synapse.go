package connect

import (
	"raytap/config"
	"raytap/ray/synapse"
	"raytap/ray/transport"
)

// Synapse returns a client of a Synapse agent. It does not connect. The error names what
// is wrong in the configuration.
func Synapse(c config.Cluster, o Options) (*synapse.Client, error) {
	options, err := transportOptions(c, o)
	if err != nil {
		return nil, err
	}
	t, err := synapse.NewTransport(options, synapse.Credentials{
		User:   secret(c.Auth.UserToken, c.Auth.UserTokenFile),
		Tenant: secret(c.Auth.Tenant, c.Auth.TenantFile),
	})
	if err != nil {
		return nil, err
	}
	return synapse.New(t, synapse.Options{Log: o.Log})
}

// secret returns a token of the configuration or of a file, nil if there is none.
func secret(value config.Secret, file config.Path) transport.TokenSource {
	switch {
	case file != "":
		return transport.FileToken(string(file))
	case value != "":
		return transport.StaticToken(string(value))
	}
	return nil
}
