package connect

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"raytap/config"
	"raytap/discovery/kuberay"
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
	to.Flag("cluster", "Cluster in the configuration (--config.file), or with its key kubernetes a RayCluster as NAMESPACE/NAME; optional if there is only one.").
		PlaceHolder("NAME").HintAction(names).StringVar(&t.Cluster)
	to.Flag("url", "Address of a cluster without a configuration, such as http://ray-head:8265.").PlaceHolder("URL").StringVar(&t.URL)
	to.Flag("api", "API served at --url: ray (Ray dashboard, default) or synapse (Synapse agent).").PlaceHolder("ray").EnumVar(&t.API, config.APIRay, config.APISynapse)
	to.Flag("token-file", "File with the token for --url.").PlaceHolder("FILE").StringVar(&t.TokenFile)
}

// Resolved is a cluster, and what Kubernetes knows of it.
type Resolved struct {
	config.Cluster
	Live Live // the zero value if it is not a RayCluster
}

// Resolve returns the cluster. Its errors are about the command line, the environment,
// the configuration, or a RayCluster of Kubernetes.
func (t Target) Resolve(ctx context.Context, env config.Env) (Resolved, error) {
	if t.ConfigFile != "" && t.URL == "" && t.API == "" && t.TokenFile == "" {
		return t.fromConfig(ctx, env)
	}
	c, err := t.fromEnvironment(env)
	return Resolved{Cluster: c}, err
}

// fromEnvironment returns the cluster that the flags or the environment name.
func (t Target) fromEnvironment(env config.Env) (config.Cluster, error) {
	switch {
	case t.ConfigFile != "":
		return config.Cluster{}, errors.New("--url, --api and --token-file cannot be combined with --config.file: set one or the other")
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

// fromConfig returns a cluster of the configuration, or a RayCluster of its Kubernetes.
func (t Target) fromConfig(ctx context.Context, env config.Env) (Resolved, error) {
	c, err := config.Load(t.ConfigFile, env)
	if err != nil {
		return Resolved{}, err
	}
	if t.Cluster == "" && len(c.Clusters) == 1 {
		return Resolved{Cluster: c.Clusters[0]}, nil
	}
	at := slices.IndexFunc(c.Clusters, func(cluster config.Cluster) bool { return cluster.Name == t.Cluster })
	namespace, name, full := strings.Cut(t.Cluster, "/")
	switch {
	case at >= 0:
		return Resolved{Cluster: c.Clusters[at]}, nil
	case c.Kubernetes != nil && full:
		return t.rayCluster(ctx, c, namespace, name)
	case len(c.Clusters) == 0 && c.Kubernetes != nil:
		return Resolved{}, fmt.Errorf("%s has no clusters but those of Kubernetes: set --cluster to NAMESPACE/NAME of a RayCluster", t.ConfigFile)
	case len(c.Clusters) == 0:
		return Resolved{}, fmt.Errorf("%s has no clusters: use --url instead of --config.file", t.ConfigFile)
	case t.Cluster == "":
		return Resolved{}, fmt.Errorf("%s has %d clusters: set --cluster to one of %s", t.ConfigFile, len(c.Clusters), joinNames(c.Names()))
	}
	return Resolved{}, fmt.Errorf("%s has no cluster %q: set --cluster to one of %s", t.ConfigFile, t.Cluster, joinNames(c.Names()))
}

// lookupTimeout bounds the requests to the API server of Kubernetes for one command.
const lookupTimeout = 15 * time.Second

// rayCluster returns a RayCluster as it is now.
func (t Target) rayCluster(ctx context.Context, c config.Config, namespace, name string) (Resolved, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	found, err := kuberay.Lookup(ctx, c, namespace, name, "raytap")
	if err != nil {
		return Resolved{}, err
	}
	state := found.Facts.State()
	live := Live{
		Address: func() (string, error) { return state.Address, nil },
		Agents:  func(a netip.Addr) bool { return state.Agents[a] },
	}
	if found.Facts.Token != nil {
		live.Token = found.Facts.Token
	}
	return Resolved{found.Cluster, live}, nil
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
