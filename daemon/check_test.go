package daemon

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sirupsen/logrus/hooks/test"

	"raytap/config"
)

// A start and a reload fail with the errors that Check returns, and a start that
// fails leaves nothing behind.
func TestCheck_SameAsStartAndReload(t *testing.T) {
	dir := t.TempDir()
	name := func(s string) config.Path { return config.Path(filepath.Join(dir, s)) }
	for _, made := range []error{
		os.Mkdir(string(name("directory")), 0o750),
		os.WriteFile(string(name("text")), []byte("no certificate"), 0o600),
		os.WriteFile(string(name("web.yml")), []byte("tls_server_config: {cert_file: none.pem, key_file: none.key}\n"), 0o600),
		syscall.Mkfifo(string(name("pipe")), 0o600),
		os.Symlink("text", string(name("link"))),
	} {
		if made != nil {
			t.Fatal(made)
		}
	}
	hs := heads(t, "prod")
	intoSink := func(path config.Path) func(*config.Config) {
		return func(c *config.Config) { c.Sink.File = &config.File{Path: path} }
	}
	for title, tt := range map[string]struct {
		change func(*config.Config)
		want   string // of a problem; "" is right
	}{
		"nothing":                        {func(*config.Config) {}, ""},
		"missing web configuration":      {func(c *config.Config) { c.Web.ConfigFile = name("none") }, "web.config_file: "},
		"invalid web configuration":      {func(c *config.Config) { c.Web.ConfigFile = name("web.yml") }, "web.config_file: "},
		"a CA file that is missing":      {func(c *config.Config) { c.Clusters[0].TLS.CAFile = name("none") }, "clusters[0]: read the CA file: open "},
		"a CA file without certificates": {func(c *config.Config) { c.Clusters[0].TLS.CAFile = name("text") }, "contains no PEM certificate"},
		"a certificate that is missing": {func(c *config.Config) {
			c.Clusters[0].TLS.CertFile, c.Clusters[0].TLS.KeyFile = name("none"), name("text")
		}, "clusters[0]: read the client certificate: open "},
		"invalid key": {func(c *config.Config) {
			c.Clusters[0].TLS.CertFile, c.Clusters[0].TLS.KeyFile = name("text"), name("text")
		}, "clusters[0]: read the client certificate: "},
		"unknown service name":          {func(c *config.Config) { c.Web.ListenAddresses = []string{"127.0.0.1:nowhere"} }, `web.listen_addresses[0]: "nowhere" is not a port number or service name`},
		"unknown interface":             {func(c *config.Config) { c.Web.ListenAddresses = []string{"[fe80::1%nope9]:0"} }, `this machine has no interface "nope9"`},
		"a directory as the sink":       {intoSink(name("directory")), "sink.file.path: " + string(name("directory")) + " is a directory: use a file in it"},
		"a pipe as the sink":            {intoSink(name("pipe")), "sink.file.path: " + string(name("pipe")) + " is a device, a pipe or a socket"},
		"a sink below a file":           {intoSink(name("text/x/y.jsonl")), "sink.file.path: "},
		"a sink below a link to a file": {intoSink(name("link/y.jsonl")), "sink.file.path: "},
		"a directory as positions":      {func(c *config.Config) { c.Shipper.Positions.File = name("directory") }, "shipper.positions.file: "},
	} {
		t.Run(title, func(t *testing.T) {
			fresh := filepath.Join(t.TempDir(), "deep", "raytap.jsonl")
			c := configure(t, hs, "prod")
			c.Sink.File = &config.File{Path: config.Path(fresh)}
			tt.change(&c)
			err := Check(c)
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var problems *config.Problems
			if !errors.As(err, &problems) || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("the check: %v, want %q", err, tt.want)
			}
			log, _ := test.NewNullLogger()
			if _, started := New(c, Options{Stdout: io.Discard, Log: log}); started == nil || started.Error() != err.Error() {
				t.Errorf("a start: %v, want %v", started, err)
			}
			if _, err := os.Stat(filepath.Dir(fresh)); err == nil {
				t.Error("a failed start creates files")
			}
			h := open(t, configure(t, hs, "prod"), nil)
			if code, text := h.reload(c, nil); code != 500 || !strings.Contains(text, err.Error()) {
				t.Errorf("a reload: %d %s", code, text)
			}
			if !strings.Contains(h.page(), "raytap_config_last_reload_successful 0") {
				t.Error("the metrics show no failed reload")
			}
		})
	}
}
