package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"raytap/ray/raytest"
	"raytap/test/program"
)

func TestMain(m *testing.M) { os.Exit(program.Main(m)) }

func TestRun_StartErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	good := program.TempFile(t, "clusters: [{url: 'http://127.0.0.1:1'}]\n")
	useless := program.TempFile(t, "clusters: [{url: 'http://127.0.0.1:1'}]\ncollector: {exclude_metrics: [raytap_node_.*, raytap_nod]}\n")
	wrong := program.TempFile(t, "clusters: [{url: 'ray:8265', timeout: 5}]\nshiper: {}\n")
	noCA := program.TempFile(t, "clusters: [{url: 'https://127.0.0.1:1', tls: {ca_file: none.pem}}]\n")
	mixed := program.TempFile(t, "clusters: [{url: 'http://127.0.0.1:1', api: synapse, auth: {environment: true}}]\n")
	webFile := program.TempFile(t, "tls_server_config: {cert_file: none.pem, key_file: none.key}\n")
	for name, tt := range map[string]struct {
		args []string
		env  string
		code int
		want []string // a part of each line of stderr
	}{
		"an unknown flag":               {[]string{"--nope"}, "", 2, []string{"unknown long flag '--nope'; try raytap --help"}},
		"an unknown command":            {[]string{"dance"}, "", 2, []string{`unexpected dance`}},
		"all errors in a file":          {[]string{"--config.file", wrong}, "", 2, []string{":1: clusters[0].timeout: ", ":1: clusters[0].url: ", ":2: shiper: unknown key; did you mean shipper?"}},
		"config check: all errors":      {[]string{"config", "check", wrong}, "", 2, []string{":1: clusters[0].timeout: ", ":1: clusters[0].url: ", ":2: shiper: unknown key; did you mean shipper?"}},
		"config check: start-up errors": {[]string{"config", "check", noCA}, "", 2, []string{"clusters[0]: read the CA file: open "}},
		"no such file":                  {[]string{"--config.file", "/nonexistent/raytap.yaml"}, "", 2, []string{"/nonexistent/raytap.yaml: no such file or directory"}},
		"a directory":                   {[]string{"--config.file", "/"}, "", 2, []string{"read /: is a directory"}},
		"a CA file that is missing":     {[]string{"--config.file", noCA}, "", 2, []string{"clusters[0]: read the CA file: open "}},
		"Ray's token for Synapse":       {[]string{"--config.file", mixed}, "", 2, []string{"clusters[0].auth.environment: "}},
		"invalid web configuration":     {[]string{"--config.file", good, "--web.config.file", webFile}, "", 2, []string{"web.config_file: web configuration " + webFile}},
		"invalid address":               {nil, "RAY_API_SERVER_ADDRESS=ray:8265", 2, []string{`RAY_API_SERVER_ADDRESS: "ray:8265": must be an http or https URL`}},
		"a busy port":                   {[]string{"--web.listen-address", taken.Addr().String()}, "", 1, []string{taken.Addr().String() + ": the port is in use"}},
		"all disabled":                  {[]string{"--no-collector.enabled", "--no-shipper.enabled"}, "", 2, []string{"enable at least one"}},
		"unknown log level":             {[]string{"--log.level", "loud"}, "", 2, []string{"log.level: must be one of debug, info, warning, error"}},
		"no systemd sockets":            {[]string{"--web.systemd-socket"}, "", 1, []string{"get the listeners from systemd: it passed none"}},
		"an error as JSON":              {[]string{"--log.format", "json", "--log.level", "loud"}, "", 2, []string{`"level":"error","msg":"log.level: must be one of`}},
		"config check: valid":           {[]string{"config", "check", good}, "", 0, nil},
		"config check: warning":         {[]string{"config", "check", useless}, "", 0, []string{`raytap: warning: collector.exclude_metrics[1]: "raytap_nod" matches no metric`}},
		"help":                          {[]string{"--help"}, "", 0, nil},
		"version":                       {[]string{"version"}, "", 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := program.NewCommand(t, []string{tt.env}, tt.args...)
			p.Start()
			code := p.Code()
			lines := strings.Split(strings.TrimSpace(p.Stderr.String()), "\n")
			if p.Stderr.String() == "" {
				lines = nil
			}
			if code != tt.code || len(lines) != len(tt.want) {
				t.Fatalf("exit code %d, want %d; stderr, want %d lines:\n%s", code, tt.code, len(tt.want), p.Stderr.String())
			}
			for i, want := range tt.want {
				if !strings.Contains(lines[i], want) {
					t.Errorf("line %d is %q, want %q in it", i, lines[i], want)
				}
			}
			if got := p.Stdout.String(); (code == 0) != (got != "") {
				t.Errorf("stdout: %q", got)
			}
		})
	}
}

// flood answers every request with 200 MB of JSON: an object, because a list of jobs
// may be that long.
func flood(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"ray_version":"`)
	chunk := bytes.Repeat([]byte("x"), 1<<20)
	for range 200 {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
	_, _ = io.WriteString(w, `"}`)
}

func TestDaemon_BrokenClusters(t *testing.T) {
	guarded := raytest.New(t, raytest.Token("right"))
	hangs, html, healthy := raytest.New(t), raytest.New(t), raytest.New(t)
	hangs.Inject(raytest.Fault{Action: raytest.Hang})
	html.Inject(raytest.Fault{Action: raytest.HTML})
	big := httptest.NewServer(http.HandlerFunc(flood))
	defer big.Close()
	healthy.Submit("job-1", raytest.JobOptions{}).Print("hello\n")

	clusters := []struct{ name, settings, want string }{
		{"refused", "url: http://" + program.FreeAddress(t), "connection refused by 127.0.0.1"},
		{"no-token", "url: " + guarded.URL(), "401 "},
		{"wrong-token", "url: " + guarded.URL() + ", auth: {token: hunter2}", "403 "},
		{"no-token-file", "url: " + guarded.URL() + ", auth: {token_file: /nonexistent/token}", "token file /nonexistent/token does not exist: create it"},
		{"hangs", "url: " + hangs.URL() + ", timeout: 1s", "408 "},
		{"html", "url: " + html.URL(), "the response is HTML, not JSON: check that 127.0.0.1"},
		{"big", "url: " + big.URL + ", max_body: 8MiB", "the response is larger than 8 MiB"},
		{"unknown", "url: http://nowhere.invalid:8265", "the host of nowhere.invalid:8265 cannot be resolved: check the url and the DNS"},
		{"not-tls", "url: " + strings.Replace(healthy.URL(), "http:", "https:", 1), "does not speak TLS: use http:// in the url"},
		{"healthy", "url: " + healthy.URL(), ""},
	}
	var file strings.Builder
	file.WriteString("clusters:\n")
	for _, c := range clusters {
		fmt.Fprintf(&file, "  - {name: %s, %s}\n", c.name, c.settings)
	}
	p := program.NewCommand(t, nil, "--config.file", program.TempFile(t, file.String())).Serve()
	p.Until("all clusters were tried", func() bool { return strings.Contains(p.Get("/-/ready"), "raytap is ready") })
	p.Until("the healthy cluster is shipped", func() bool { return strings.Contains(p.Stdout.String(), `"message":"hello"`) })
	warnings := func(name string) (lines []string) {
		field := regexp.MustCompile(`\bray_cluster=` + name + `[ \n]`)
		for line := range strings.Lines(p.Stderr.String()) {
			// A warning of a single collector is about a reachable cluster.
			if strings.Contains(line, "level=warning") && field.MatchString(line) && !strings.Contains(line, " collector=") {
				lines = append(lines, line)
			}
		}
		return lines
	}
	for _, c := range clusters {
		if c.want != "" {
			p.Until(c.name+" is reported", func() bool { return len(warnings(c.name)) > 0 })
		}
	}
	metrics := p.Get("/metrics")
	for _, c := range clusters {
		lines := warnings(c.name)
		up := fmt.Sprintf("raytap_up{ray_cluster=%q} ", c.name)
		if c.want == "" {
			if len(lines) > 0 || !strings.Contains(metrics, up+"1") {
				t.Errorf("%s: unexpected warnings %q", c.name, lines)
			}
			continue
		}
		if len(lines) != 1 || !strings.Contains(lines[0], c.want) {
			t.Errorf("%s: got %q, want one line with %q", c.name, lines, c.want)
		}
		if !strings.Contains(metrics, up+"0") {
			t.Errorf("%s does not show as down", c.name)
		}
	}
	if m := regexp.MustCompile(`(?m)^process_resident_memory_bytes (\S+)`).FindStringSubmatch(metrics); m == nil {
		t.Error("no process_resident_memory_bytes in /metrics")
	} else if rss := atof(t, m[1]); rss > 150e6 {
		t.Errorf("%.0f MB resident: a response was not bounded", rss/1e6)
	}
	if strings.Contains(p.Stderr.String(), "Bearer") || strings.Contains(p.Stderr.String()+metrics, "hunter2") {
		t.Errorf("a token is in the log or in /metrics:\n%s", p.Stderr.String())
	}
	p.Signal(syscall.SIGTERM)
	if code := p.Code(); code != 0 {
		t.Errorf("exit code %d after SIGTERM; stderr:\n%s", code, p.Stderr.String())
	}
}

func TestConfigShow_RedactsSecrets(t *testing.T) {
	file := program.TempFile(t, "clusters: [{url: 'http://127.0.0.1:1', auth: {token: '${RAY_TOKEN}'}}]\n")
	p := program.NewCommand(t, []string{"RAY_TOKEN=hunter2"}, "config", "show", "--config.file", file, "--log.level", "debug")
	p.Start()
	if code := p.Code(); code != 0 {
		t.Fatalf("exit code %d: %s", code, p.Stderr.String())
	}
	out := p.Stdout.String()
	for _, want := range []string{"token: <secret>", "level: debug", "max_replay: 8MiB", "interval: 5s"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	if strings.Contains(out, "hunter2") {
		t.Errorf("the token is printed:\n%s", out)
	}
}

func atof(t *testing.T, s string) (f float64) {
	t.Helper()
	if _, err := fmt.Sscan(s, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestDaemon_Signals(t *testing.T) {
	head := raytest.New(t)
	job := head.Submit("job-1", raytest.JobOptions{})
	job.Print("hello\n")
	env := []string{"RAY_API_SERVER_ADDRESS=" + head.URL()}

	t.Run("SIGINT without a configuration", func(t *testing.T) {
		p := program.NewCommand(t, env).Serve()
		p.Until("the line is shipped", func() bool { return strings.Contains(p.Stdout.String(), `"ray_cluster":"default"`) })
		p.Signal(syscall.SIGINT)
		if code := p.Code(); code != 0 {
			t.Errorf("exit code %d; stderr:\n%s", code, p.Stderr.String())
		}
		for line := range strings.Lines(p.Stdout.String()) {
			if !strings.HasPrefix(line, "{") || !strings.HasSuffix(line, "}\n") {
				t.Errorf("stdout has %q", line)
			}
		}
	})

	t.Run("SIGHUP", func(t *testing.T) {
		file := program.TempFile(t, "clusters: [{name: first, url: '"+head.URL()+"'}]\n")
		p := program.NewCommand(t, nil, "--config.file", file).Serve()
		if err := os.WriteFile(file, []byte("clusters: [{name: second, url: '"+head.URL()+"'}]\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		p.Signal(syscall.SIGHUP)
		p.Until("the second cluster is in /metrics", func() bool { return strings.Contains(p.Get("/metrics"), `raytap_up{ray_cluster="second"} 1`) })
		if strings.Contains(p.Get("/metrics"), `raytap_up{ray_cluster="first"}`) {
			t.Error("the first cluster is still in /metrics")
		}
		p.Signal(syscall.SIGTERM)
		if code := p.Code(); code != 0 {
			t.Errorf("exit code %d; stderr:\n%s", code, p.Stderr.String())
		}
	})

	t.Run("second signal, after a duplicate of the first", func(t *testing.T) {
		job.Print(strings.Repeat(strings.Repeat("x", 999)+"\n", 500)) // more than a pipe holds
		r, w, err := os.Pipe()                                        // not read: shutting down waits
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		p := program.NewCommand(t, env, "--stop-timeout", "1h")
		p.Cmd.Stdout = w
		p.Serve()
		w.Close()
		waiting := regexp.MustCompile(`(?m)^raytap_shipper_queue_batches [1-9]`)
		p.Until("records wait for the reader", func() bool { return waiting.MatchString(p.Get("/metrics")) })
		p.Signal(syscall.SIGTERM)
		p.Signal(syscall.SIGTERM)
		p.Until("it is stopping", func() bool { return strings.Contains(p.Stderr.String(), "Shutting down; a second signal") })
		again := time.NewTicker(2 * duplicateSignalWindow)
		defer again.Stop()
		<-again.C
		p.Signal(syscall.SIGTERM)
		if code := p.Code(); code != 1 || !strings.Contains(p.Stderr.String(), "exiting immediately") {
			t.Errorf("exit code %d; stderr:\n%s", code, p.Stderr.String())
		}
	})

	t.Run("reader of stdout gone", func(t *testing.T) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		p := program.NewCommand(t, env)
		p.Cmd.Stdout = w
		if err := errors.Join(r.Close()); err != nil {
			t.Fatal(err)
		}
		p.Cmd.Args = append(p.Cmd.Args, "--web.listen-address", program.FreeAddress(t))
		p.Start()
		w.Close()
		if code := p.Code(); code != 1 || !strings.Contains(p.Stderr.String(), "its reader has exited") {
			t.Errorf("exit code %d; stderr:\n%s", code, p.Stderr.String())
		}
	})
}
