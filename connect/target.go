package connect

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/alecthomas/kingpin/v2"

	"raytap/config"
)

// Target selects the cluster of a command. The zero value is the one that Ray's own
// tools would use.
type Target struct {
	ConfigFile string // "" for none

	Cluster   string // a name in the configuration; "" if it has one cluster
	URL       string // of a cluster without a configuration
	API       string // ray or synapse; "" means ray
	TokenFile string

	// Note is called with a note for the user about how the cluster was found; nil
	// ignores it.
	Note func(text string)
}

// flagAdder is an application or one of its commands.
type flagAdder interface {
	Flag(name, help string) *kingpin.FlagClause
}

// AddFlags adds the flags of a target, except for the configuration's. names returns the
// clusters for the completion of --cluster.
func (t *Target) AddFlags(to flagAdder, names func() []string) {
	to.Flag("cluster", "Cluster in the configuration (--config.file); optional if there is only one.").
		PlaceHolder("NAME").HintAction(names).StringVar(&t.Cluster)
	to.Flag("url", "Address of a cluster without a configuration, such as http://ray-head:8265.").PlaceHolder("URL").StringVar(&t.URL)
	to.Flag("api", "API served at --url: ray (Ray dashboard, default) or synapse (Synapse agent).").PlaceHolder("ray").EnumVar(&t.API, config.APIRay, config.APISynapse)
	to.Flag("token-file", "File with the token for --url.").PlaceHolder("FILE").StringVar(&t.TokenFile)
}

// Resolve returns the cluster. Its errors are about the command line, the environment or
// the configuration.
func (t Target) Resolve(env config.Env) (config.Cluster, error) {
	switch {
	case t.ConfigFile != "" && (t.URL != "" || t.API != "" || t.TokenFile != ""):
		return config.Cluster{}, errors.New("--url, --api and --token-file cannot be combined with --config.file: set one or the other")
	case t.ConfigFile != "":
		return t.fromConfig(env)
	case t.Cluster != "":
		return config.Cluster{}, errors.New("--cluster requires --config.file: set both, or use --url")
	}
	if t.URL != "" {
		env = overrideEnv(env, "RAY_API_SERVER_ADDRESS", t.URL)
	}
	c, err := config.FromEnvironment(env)
	if err != nil {
		if t.URL != "" {
			return config.Cluster{}, errors.New(strings.Replace(err.Error(), "RAY_API_SERVER_ADDRESS", "--url", 1))
		}
		return config.Cluster{}, err
	}
	if note := c.Note(); note != "" && t.Note != nil {
		t.Note(note)
	}
	cluster := c.Clusters[0]
	if t.API == config.APISynapse {
		// The token and the headers of the environment are for Ray, not for an agent.
		cluster.API, cluster.Auth, cluster.Headers = t.API, config.Auth{}, nil
	}
	if t.TokenFile != "" {
		path, err := filepath.Abs(t.TokenFile)
		if err != nil {
			return config.Cluster{}, err
		}
		if _, err := os.Stat(path); err != nil {
			return config.Cluster{}, fmt.Errorf("--token-file: %w", err)
		}
		cluster.Auth = config.Auth{TokenFile: config.Path(path)}
		maps.DeleteFunc(cluster.Headers, func(name string, _ config.Secret) bool { return strings.EqualFold(name, "authorization") })
	}
	return cluster, nil
}

// fromConfig returns a cluster of the configuration.
func (t Target) fromConfig(env config.Env) (config.Cluster, error) {
	c, err := config.Load(t.ConfigFile, env)
	if err != nil {
		return config.Cluster{}, err
	}
	if t.Cluster == "" && len(c.Clusters) == 1 {
		return c.Clusters[0], nil
	}
	at := slices.IndexFunc(c.Clusters, func(cluster config.Cluster) bool { return cluster.Name == t.Cluster })
	switch {
	case at >= 0:
		return c.Clusters[at], nil
	case len(c.Clusters) == 0:
		return config.Cluster{}, fmt.Errorf("%s has no clusters: use --url instead of --config.file", t.ConfigFile)
	case t.Cluster == "":
		return config.Cluster{}, fmt.Errorf("%s has %d clusters: set --cluster to one of %s", t.ConfigFile, len(c.Clusters), joinNames(c.Names()))
	}
	return config.Cluster{}, fmt.Errorf("%s has no cluster %q: set --cluster to one of %s", t.ConfigFile, t.Cluster, joinNames(c.Names()))
}

// joinNames returns the first names, joined.
func joinNames(names []string) string {
	const limit = 10
	if len(names) > limit {
		return strings.Join(names[:limit], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}

// overrideEnv returns an environment in which one variable has another value.
func overrideEnv(env config.Env, name, value string) config.Env {
	return func(key string) (string, bool) {
		if key == name {
			return value, true
		}
		return env(key)
	}
}
