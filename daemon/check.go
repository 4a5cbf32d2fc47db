package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"raytap/config"
	"raytap/connect"
	"raytap/web"
)

// Check returns a *config.Problems with all that would keep a daemon with cfg from
// starting on this machine, as far as that can be found without binding,
// connecting or writing: missing or invalid files, the sink's path, names of ports
// and interfaces. cfg is valid. It returns nil if there is none. Start, reload and
// config check use it, so that all of them accept the same.
func Check(cfg config.Config) error {
	var k check
	k.web(cfg.Web)
	for i, c := range cfg.Clusters {
		k.cluster("clusters["+strconv.Itoa(i)+"]", c)
	}
	if cfg.Shipper.Enabled {
		if f := cfg.Sink.File; f != nil {
			k.file("sink.file.path", string(f.Path))
		}
		if file, configured := cfg.PositionsFile(); configured {
			k.file("shipper.positions.file", file)
		}
	}
	if len(k.problems) > 0 {
		return &config.Problems{List: k.problems}
	}
	return nil
}

// checkModules returns what would keep clusters of modules from being watched. It
// does not keep the daemon from starting.
func checkModules(cfg config.Config) []string {
	var k check
	for _, name := range slices.Sorted(maps.Keys(cfg.Modules)) {
		c := cfg.Modules[name].Cluster
		c.Name, c.URL = "module", "http://module"
		if c.TLS != (config.TLS{}) {
			c.URL = "https://module"
		}
		k.cluster("modules."+name+".cluster", c)
	}
	var all []string
	for _, p := range k.problems {
		all = append(all, p.Path+": "+p.Message+"; no cluster of this module can be watched")
	}
	return all
}

// check collects problems.
type check struct{ problems []config.Problem }

func (k *check) fail(path string, err error) {
	k.problems = append(k.problems, config.Problem{Path: path, Message: err.Error()})
}

func (k *check) web(w config.Web) {
	for i, address := range w.ListenAddresses {
		if err := listenable(address); err != nil {
			k.fail("web.listen_addresses["+strconv.Itoa(i)+"]", err)
		}
	}
	if err := web.CheckConfigFile(string(w.ConfigFile)); err != nil {
		k.fail("web.config_file", err)
	}
}

// listenable checks the names of port and interface in an address.
func listenable(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil // validated with the configuration
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return fmt.Errorf("%q is not a port number or service name", port)
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.Zone() != "" {
		if _, err := net.InterfaceByName(ip.Zone()); err != nil {
			if _, numeric := strconv.Atoi(ip.Zone()); numeric != nil {
				return fmt.Errorf("this machine has no interface %q", ip.Zone())
			}
		}
	}
	return nil
}

// cluster creates the client of a cluster, which reads its TLS files.
func (k *check) cluster(at string, c config.Cluster) {
	var client interface{ Close() }
	var err error
	if c.API == config.APISynapse {
		client, err = connect.Synapse(c, connect.Options{})
	} else {
		client, err = connect.Dashboard(c, connect.Options{})
	}
	if err != nil {
		k.fail(at, err)
		return
	}
	client.Close()
}

// file checks that a path is a regular file, or can be created in a directory.
// Paths without permission are not checked: the daemon may run as another user.
func (k *check) file(at, path string) {
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		k.fail(at, fmt.Errorf("%s is a directory: use a file in it", path))
	case err == nil && !info.Mode().IsRegular():
		k.fail(at, fmt.Errorf("%s is a device, a pipe or a socket: it must be a regular file", path))
	case errors.Is(err, syscall.ENOTDIR):
		k.fail(at, fmt.Errorf("%s is below a file that is not a directory", path))
	case errors.Is(err, fs.ErrNotExist):
		for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
			if info, err := os.Stat(dir); err == nil && !info.IsDir() {
				k.fail(at, fmt.Errorf("%s is not a directory", dir))
			} else if errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir) {
				continue
			}
			return
		}
	}
}
