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

func TestKeysAreAsTheCodeHasThem(t *testing.T) {
	all := keyList(t)
	for name, want := range map[string]key{
		"of the file":                     {path: "response_memory", kind: "size", value: "256MiB", restart: true},
		"of a list":                       {path: "clusters[].timeout", kind: "duration", value: "10s"},
		"within a list, some levels down": {path: "clusters[].node_agents.allow", kind: "list: network"},
		"of what may be left out":         {path: "sink.file.fsync", kind: "`always`, `never` or duration", value: "1s", restart: true},
		"whose neighbour needs a restart": {path: "log.level", kind: "text", value: "info"},
		"a secret":                        {path: "clusters[].auth.token", kind: "secret"},
		"a list with a default":           {path: "web.listen_addresses", kind: "list: text", value: `[":9265"]`, restart: true},
	} {
		t.Run(name, func(t *testing.T) {
			i := slices.IndexFunc(all, func(k key) bool { return k.path == want.path })
			if i < 0 {
				t.Fatalf("%s is not listed", want.path)
			}
			got := all[i]
			if got.about == "" {
				t.Errorf("%s has no meaning", got.path)
			}
			if got.about = ""; got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
		})
	}
}

// A key that stands twice would be one that is told in two ways.
func TestEachKeyStandsOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range keyList(t) {
		if seen[k.path] {
			t.Errorf("%s stands twice", k.path)
		}
		seen[k.path] = true
	}
}

// What the head of the example says of reloads is what the code does.
func TestTheExampleNamesWhatTakesARestart(t *testing.T) {
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
			t.Errorf("%s takes a restart, and the head of config.example.yaml does not say so", k.path)
		}
	}
}
