package main

import (
	"os"
	"slices"
	"strings"
	"testing"
)

func keyList(t *testing.T) []key {
	t.Helper()
	sections, err := listKeys("../..")
	if err != nil {
		t.Fatal(err)
	}
	var all []key
	for _, s := range sections {
		all = append(all, s.keys...)
	}
	return all
}

func TestListKeys(t *testing.T) {
	all := keyList(t)
	for name, want := range map[string]key{
		"top level":                          {path: "response_memory", kind: "size", value: "256MiB", restart: true},
		"in a list":                          {path: "clusters[].timeout", kind: "duration", value: "10s"},
		"deep in a list":                     {path: "clusters[].node_agents.allow", kind: "list: network"},
		"optional mapping":                   {path: "sink.file.fsync", kind: "`always`, `never` or duration", value: "1s", restart: true},
		"next to a key that needs a restart": {path: "log.level", kind: "text", value: "info"},
		"secret":                             {path: "clusters[].auth.token", kind: "secret"},
		"list with a default":                {path: "web.listen_addresses", kind: "list: text", value: `[":9265"]`, restart: true},
	} {
		t.Run(name, func(t *testing.T) {
			i := slices.IndexFunc(all, func(k key) bool { return k.path == want.path })
			if i < 0 {
				t.Fatalf("%s is not listed", want.path)
			}
			got := all[i]
			if got.about == "" {
				t.Errorf("%s has no description", got.path)
			}
			if got.about = ""; got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
		})
	}
}

// A duplicate key would have two descriptions.
func TestListKeys_NoDuplicates(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range keyList(t) {
		if seen[k.path] {
			t.Errorf("%s is listed twice", k.path)
		}
		seen[k.path] = true
	}
}

// The example lists the keys that need a restart.
func TestExample_KeysThatNeedRestart(t *testing.T) {
	text, err := os.ReadFile("../../config.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(string(text), "\nclusters:")
	for _, k := range keyList(t) {
		if !k.restart {
			continue
		}
		named := false
		for at := k.path; at != ""; at = at[:max(0, strings.LastIndex(at, "."))] {
			named = named || strings.Contains(strings.ReplaceAll(head, "\n# ", " "), at+",")
		}
		if !named {
			t.Errorf("%s needs a restart, but the head of config.example.yaml does not list it", k.path)
		}
	}
}
