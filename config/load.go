package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// maxFile is the maximum size of a configuration file, in bytes.
const maxFile = 8 << 20

// Load reads a YAML file over the defaults. The error is a *Problems with all that
// is wrong with it, or says why the file cannot be read.
func Load(file string, env Env) (Config, error) {
	f, err := os.Open(file)
	if err != nil {
		return Config{}, fmt.Errorf("read the configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return Config{}, fmt.Errorf("read the configuration: %w", err)
	}
	if len(data) > maxFile {
		return Config{}, fmt.Errorf("read the configuration: %s is larger than %s", file, Size(maxFile))
	}
	dir, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return Config{}, fmt.Errorf("read the configuration: %w", err)
	}
	c, problems := parse(data, dir, env)
	if len(problems) > 0 {
		return Config{}, &Problems{File: file, List: sorted(problems)}
	}
	return c, nil
}

// parse decodes and validates data; dir is the base of relative paths.
func parse(data []byte, dir string, env Env) (Config, []Problem) {
	c := Default()
	c.stateDir = stateDir(env)
	sum := sha256.Sum256(data)
	c.hash = hex.EncodeToString(sum[:])

	var doc yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(data))
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF): // nothing but comments
	case err != nil:
		return c, []Problem{syntax(err)}
	default:
		var more yaml.Node
		if err := dec.Decode(&more); err == nil {
			return c, []Problem{{Line: more.Line, Message: "a second YAML document begins here; write one document"}}
		} else if !errors.Is(err, io.EOF) {
			return c, []Problem{syntax(err)}
		}
	}
	d := &decoder{env: env, dir: dir, locations: map[string]location{}}
	if len(doc.Content) > 0 {
		d.value("", doc.Content[0], reflect.ValueOf(&c).Elem())
	}
	return c, append(d.problems, d.withLocations(c.validate())...)
}

// withLocations adds lines and values to the problems of validation. It omits
// those of values that did not decode: they are already reported.
func (d *decoder) withLocations(list []Problem) []Problem {
	var out []Problem
	for _, p := range list {
		at, exact := d.locations[p.Path]
		if d.invalid(p.Path) {
			continue
		}
		p.Line = at.line
		if exact {
			p.Value = at.value
		}
		for parent := p.Path; p.Line == 0 && parent != ""; {
			parent = parent[:max(0, strings.LastIndexAny(parent, ".["))]
			p.Line = d.locations[parent].line
		}
		out = append(out, p)
	}
	return out
}

// invalid reports whether a value, or a parent of it, did not decode.
func (d *decoder) invalid(path string) bool {
	for {
		if d.locations[path].bad {
			return true
		}
		if path == "" {
			return false
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?line (\d+): `)

// syntax converts yaml.v3's "yaml: line 3: …".
func syntax(err error) Problem {
	text := err.Error()
	p := Problem{}
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		p.Line, _ = strconv.Atoi(m[1])
		text = text[len(m[0]):]
	}
	p.Message = "is not YAML: " + bounded(strings.TrimPrefix(text, "yaml: "))
	return p
}

// FromEnvironment returns the configuration without a file: one cluster named
// default, with the address, token and headers (RAY_JOB_HEADERS) that Ray's own
// tools would use.
//
// The address is RAY_API_SERVER_ADDRESS, which must be http or https, else the
// dashboard of RAY_ADDRESS. The error, a *Problems, names the variables that are
// wrong.
func FromEnvironment(env Env) (Config, error) {
	c := Default()
	c.stateDir = stateDir(env)
	var cluster Cluster
	cluster.setDefaults()
	cluster.Auth.Environment = true

	from := "RAY_ADDRESS"
	address, _ := env(from)
	var problems []Problem
	if v, _ := env("RAY_API_SERVER_ADDRESS"); v != "" {
		cluster.URL, from = URL(v), "RAY_API_SERVER_ADDRESS"
	} else if url, note, err := rayDashboard(address); err != nil {
		problems = append(problems, Problem{Path: from, Value: bounded(URL(address).String()), Message: err.Error()})
		cluster.URL = localRay
	} else {
		cluster.URL, c.note = URL(url), note
	}
	cluster.URL = URL(strings.TrimRight(string(cluster.URL), "/"))
	text, _ := env("RAY_JOB_HEADERS")
	headers, err := jobHeaders(text)
	if err != nil {
		problems = append(problems, Problem{Path: "RAY_JOB_HEADERS", Message: err.Error()})
	}
	cluster.setHeaders(headers)
	c.Clusters = []Cluster{cluster}
	for _, p := range c.validate() {
		switch {
		case p.Path == "clusters[0].url":
			p.Path, p.Value = from, bounded(cluster.URL.String())
		case strings.HasPrefix(p.Path, "clusters[0].headers"):
			p.Path = "RAY_JOB_HEADERS" + strings.TrimPrefix(p.Path, "clusters[0].headers")
		}
		problems = append(problems, p)
	}
	if len(problems) > 0 {
		return Config{}, &Problems{List: problems}
	}
	sum := sha256.Sum256([]byte(cluster.URL))
	c.hash = hex.EncodeToString(sum[:])
	return c, nil
}

// Note returns how FromEnvironment derived the cluster's address, in one line; ""
// if it is the variable's value or the default.
func (c Config) Note() string { return c.note }

// Hash returns the SHA-256 of the file that c was loaded from, in hex; of the
// address for FromEnvironment; "" for any other configuration.
func (c Config) Hash() string { return c.hash }

// Redacted returns the whole configuration as YAML, with defaults and without
// secrets.
func (c Config) Redacted() string {
	out, err := yaml.Marshal(c)
	if err != nil {
		return "# not shown: " + err.Error()
	}
	return string(out)
}

// Validate returns a *Problems with all that is wrong with c, or nil. A loaded
// configuration is valid; one that was changed since, by flags for instance, may
// not be.
func (c Config) Validate() error {
	if problems := c.validate(); len(problems) > 0 {
		return &Problems{List: problems}
	}
	return nil
}
