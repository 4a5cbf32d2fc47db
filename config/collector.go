package config

import (
	"errors"
	"fmt"
	"regexp"
	resyntax "regexp/syntax"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Pattern is a regular expression that has to match the whole of a text.
type Pattern struct{ *regexp.Regexp }

// UnmarshalText takes Go's syntax.
func (p *Pattern) UnmarshalText(text []byte) error {
	whole, err := regexp.Compile("^(?:" + string(text) + ")$")
	var wrong *resyntax.Error
	if errors.As(err, &wrong) {
		return fmt.Errorf("is not a regular expression: %s", wrong.Code)
	}
	p.Regexp = whole
	return err
}

// String is the pattern as it was given.
func (p Pattern) String() string {
	return strings.TrimSuffix(strings.TrimPrefix(p.Regexp.String(), "^(?:"), ")$")
}

// MarshalText is String.
func (p Pattern) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// maxLabelKeys bounds the labels that one metric gets by configuration.
const maxLabelKeys = 16

// notInLabel is what the name of a label cannot hold, and _, which stands for it.
var notInLabel = regexp.MustCompile("[^a-zA-Z0-9]")

func (k *checker) collector(c *Collector) {
	k.lasts("collector.jobs.retention", c.Jobs.Retention, time.Second)
	k.atLeast("collector.jobs.max", int64(c.Jobs.Max), 1)
	k.lasts("collector.tasks.cache", c.Tasks.Cache, time.Second)
	k.atLeast("collector.tasks.max_series", int64(c.Tasks.MaxSeries), 1)
	k.atLeast("collector.serve.max", int64(c.Serve.Max), 1)
	k.atLeast("collector.nodes.max", int64(c.Nodes.Max), 1)
	k.labelKeys("collector.jobs.metadata", c.Jobs.Metadata)
	k.labelKeys("collector.nodes.labels", c.Nodes.Labels)
}

// labelKeys checks keys that become labels of one metric: what a label's name
// cannot hold becomes _ there, and two must not become the same.
func (k *checker) labelKeys(at string, keys []string) {
	if len(keys) > maxLabelKeys {
		k.fail(at, "has %d keys; at most %d are labels of one metric", len(keys), maxLabelKeys)
	}
	first := map[string]string{}
	for i, key := range keys {
		path := at + "[" + strconv.Itoa(i) + "]"
		name := notInLabel.ReplaceAllString(key, "_")
		switch other, taken := first[name]; {
		case key == "" || len(key) > maxName || !utf8.ValidString(key):
			k.fail(path, "must be 1 to %d bytes of UTF-8", maxName)
		case taken:
			k.fail(path, "would be the same label as %q", bounded(other))
		}
		first[name] = key
	}
}
