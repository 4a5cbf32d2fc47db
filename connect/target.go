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

// Target says which cluster a command is for. The zero value is the one that
// Ray's own tools would find.
type Target struct {
	ConfigFile string // "" is none

	Cluster   string // a name in the configuration; "" where it has one cluster
	URL       string // of a cluster that no configuration is needed for
	API       string // ray or agent; "" is ray
	TokenFile string

	// Note is given what a person should know of how the cluster was found; nil
	// is nobody.
	Note func(text string)
}

// flagAdder is an application or a command of one.
type flagAdder interface {
	Flag(name, help string) *kingpin.FlagClause
}

// AddFlags adds the flags of a target, but for the configuration's. names gives
// the clusters to complete --cluster with.
func (t *Target) AddFlags(to flagAdder, names func() []string) {
	to.Flag("cluster", "The cluster of the configuration (--config.file); not needed where it has only one.").
		PlaceHolder("NAME").HintAction(names).StringVar(&t.Cluster)
	to.Flag("url", "The address of a cluster, without a configuration, such as http://ray-head:8265.").PlaceHolder("URL").StringVar(&t.URL)
	to.Flag("api", "API served at --url: ray (Ray dashboard, default) or synapse (Synapse agent).").PlaceHolder("ray").EnumVar(&t.API, config.APIRay, config.APISynapse)
	to.Flag("token-file", "The file that holds the token for it.").PlaceHolder("FILE").StringVar(&t.TokenFile)
}

// Resolve returns the cluster. An error is a mistake on the command line, in the
// environment or in the configuration.
func (t Target) Resolve(env config.Env) (config.Cluster, error) {
	switch {
	case t.ConfigFile != "" && (t.URL != "" || t.API != "" || t.TokenFile != ""):
		return config.Cluster{}, errors.New("--url, --api and --token-file are for a cluster without a configuration: give them or --config.file")
	case t.ConfigFile != "":
		return t.named(env)
	case t.Cluster != "":
		return config.Cluster{}, errors.New("--cluster is a name in a configuration: give --config.file too, or --url")
	}
	if t.URL != "" {
		env = overlay(env, "RAY_API_SERVER_ADDRESS", t.URL)
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
		// The token and the headers that Ray's tools find are Ray's, not an agent's.
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

// named finds a cluster in the configuration.
func (t Target) named(env config.Env) (config.Cluster, error) {
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
		return config.Cluster{}, fmt.Errorf("%s names no cluster: give --url instead of --config.file", t.ConfigFile)
	case t.Cluster == "":
		return config.Cluster{}, fmt.Errorf("%s has %d clusters: give --cluster with one of %s", t.ConfigFile, len(c.Clusters), some(c.Names()))
	}
	return config.Cluster{}, fmt.Errorf("%s has no cluster %q; it has %s", t.ConfigFile, t.Cluster, some(c.Names()))
}

// some gives the first of many names.
func some(names []string) string {
	const most = 10
	if len(names) > most {
		return strings.Join(names[:most], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}

// overlay is an environment with one variable set anew.
func overlay(env config.Env, name, value string) config.Env {
	return func(key string) (string, bool) {
		if key == name {
			return value, true
		}
		return env(key)
	}
}
