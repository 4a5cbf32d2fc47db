package config

import (
	"path/filepath"
	"strings"
	"testing"
)

// Addresses that are invalid on any machine are errors of the file.
func TestLoad_ListenAddresses(t *testing.T) {
	for address, right := range map[string]bool{
		":9265": true, "127.0.0.1:0": true, "localhost:9265": true, "[::1]:9265": true, "[fe80::1%eth0]:65535": true,
		":http": true, "ray-head.example:80": true,
		"": false, "9265": false, "localhost": false, "localhost:": false, "localhost:99999": false, "0.0.0.0:-1": false, ":+80": false,
		":80 ": false, "256.0.0.1:80": false, "1.2.3:80": false, "[fe80::x]:80": false, "::1:80": false,
		"http://localhost:80": false, "a b:80": false, "unix:/run/x": false, "vsock://:9265": false,
	} {
		c, problems := parse([]byte("clusters: [{url: 'http://ray:8265'}]\nweb: {listen_addresses: ['"+address+"']}\n"), "/etc", environment())
		if (len(problems) == 0) != right {
			t.Errorf("%q: %v, %v", address, c.Web.ListenAddresses, problems)
		}
	}
}

// Only a shell expands ~. Files named ~x and ./~x are valid.
func TestLoad_Tilde(t *testing.T) {
	for path, want := range map[string]string{
		"~/raytap.jsonl": "", "~ray/raytap.jsonl": "",
		"~raytap.jsonl": "/etc/~raytap.jsonl", "./~/raytap.jsonl": "/etc/~/raytap.jsonl", "a/~/b": "/etc/a/~/b", "/~/b": "/~/b",
	} {
		c, problems := parse([]byte("clusters: [{url: 'http://ray:8265'}]\nsink: {file: {path: "+path+"}}\n"), "/etc", environment())
		switch {
		case want == "":
			if len(problems) != 1 || problems[0].Path != "sink.file.path" || !strings.Contains(problems[0].Message, "write ${HOME}/") {
				t.Errorf("%s: %v", path, problems)
			}
		case len(problems) > 0 || filepath.ToSlash(string(c.Sink.File.Path)) != want:
			t.Errorf("%s: %v, %v", path, c.Sink.File, problems)
		}
	}
	_, problems := parse([]byte("clusters: [{url: 'http://ray:8265', auth: {token_file: ~/token}}]\ncluster_files: [{files: ['~/*.json'], module: m}]\nmodules: {m: {targets: ['*']}}\n"), "/etc", environment())
	if len(problems) != 2 {
		t.Errorf("in a token's path and in a list: %v", problems)
	}
}

// The name of a stream, such as /dev/stdout, is not a file.
func TestLoad_SinkPathIsStream(t *testing.T) {
	for path, right := range map[string]bool{
		"/dev/stdout": false, "/dev/stderr": false, "/dev/null": false, "/dev/fd/1": false, "/proc/self/fd/1": false,
		"/dev/shm/raytap.jsonl": true, "/device/raytap.jsonl": true,
	} {
		_, problems := parse([]byte("clusters: [{url: 'http://ray:8265'}]\nsink: {file: {path: "+path+"}}\n"), "/etc", environment())
		if (len(problems) == 0) != right || !right && !strings.Contains(problems[0].Message, "write stdout: {}") {
			t.Errorf("%s: %v", path, problems)
		}
	}
}

// An IPv6 address may have a zone, with an escaped %.
func TestLoad_IPv6Zone(t *testing.T) {
	for url, want := range map[string]string{"http://[fe80::1%25eth0]:8265": "", "http://[fe80::1%eth0]:8265": "write % as %25"} {
		_, problems := parse([]byte("clusters: [{url: '"+url+"'}]\n"), "/etc", environment())
		if (len(problems) == 0) != (want == "") || want != "" && !strings.Contains(problems[0].Message, want) {
			t.Errorf("%s: %v", url, problems)
		}
	}
}
