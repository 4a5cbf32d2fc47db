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
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"raytap/ray/raytest"
	"raytap/test/program"
)

func TestMain(m *testing.M) { os.Exit(program.Main(m)) }

// process is raytap at work.
type process struct {
	*program.Process // nil until it is started
	t                *testing.T
	cmd              *exec.Cmd
	url              string // of its page
	stdout, stderr   program.Output
}

// command prepares raytap with an environment of its own.
func command(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: program.Raytap(t, args...)}
	p.cmd.Env = append([]string{"PATH=/nonexistent", "HOME=" + t.TempDir()}, env...)
	p.cmd.Dir = t.TempDir()
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	return p
}

// serving starts raytap with a page on a free port, and kills it with the test.
func (p *process) serving() *process {
	p.t.Helper()
	p.logged()
	p.Process, p.url = program.Serve(p.t, p.cmd)
	return p
}

func (p *process) start() {
	p.t.Helper()
	p.logged()
	p.Process = program.Start(p.t, p.cmd)
}

// logged has what raytap said logged if the test fails.
func (p *process) logged() {
	p.t.Cleanup(func() {
		if p.t.Failed() {
			p.t.Logf("stderr:\n%s\nstdout:\n%.2000s", program.Last(p.stderr.String(), 4000), p.stdout.String())
		}
	})
}

// code waits for the exit code.
func (p *process) code() int {
	p.t.Helper()
	return p.Wait(20 * time.Second)
}

func (p *process) page(path string) string { return program.Get(p.url + path) }

func (p *process) until(what string, ok func() bool) {
	p.t.Helper()
	p.Until(20*time.Second, what, ok)
}

func write(t *testing.T, text string) string {
	t.Helper()
	return program.File(t, filepath.Join(t.TempDir(), "raytap.yaml"), text)
}

func TestWhatCannotStartSaysWhyAndExits(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	good := write(t, "clusters: [{url: 'http://127.0.0.1:1'}]\n")
	useless := write(t, "clusters: [{url: 'http://127.0.0.1:1'}]\ncollector: {exclude_metrics: [raytap_node_.*, raytap_nod]}\n")
	wrong := write(t, "clusters: [{url: 'ray:8265', timeout: 5}]\nshiper: {}\n")
	noCA := write(t, "clusters: [{url: 'https://127.0.0.1:1', tls: {ca_file: none.pem}}]\n")
	mixed := write(t, "clusters: [{url: 'http://127.0.0.1:1', api: synapse, auth: {environment: true}}]\n")
	webFile := write(t, "tls_server_config: {cert_file: none.pem, key_file: none.key}\n")
	for name, tt := range map[string]struct {
		args []string
		env  string
		code int
		want []string // one for each line of stderr
	}{
		"an unknown flag":            {[]string{"--nope"}, "", 2, []string{"unknown long flag '--nope'; try raytap --help"}},
		"an unknown command":         {[]string{"dance"}, "", 2, []string{`unexpected dance`}},
		"every mistake in a file":    {[]string{"--config.file", wrong}, "", 2, []string{":1: clusters[0].timeout: ", ":1: clusters[0].url: ", ":2: shiper: unknown key; did you mean shipper?"}},
		"the same by config check":   {[]string{"config", "check", wrong}, "", 2, []string{":1: clusters[0].timeout: ", ":1: clusters[0].url: ", ":2: shiper: unknown key; did you mean shipper?"}},
		"and what a start refuses":   {[]string{"config", "check", noCA}, "", 2, []string{"clusters[0]: read the CA file: open "}},
		"no such file":               {[]string{"--config.file", "/nonexistent/raytap.yaml"}, "", 2, []string{"/nonexistent/raytap.yaml: no such file or directory"}},
		"a folder for a file":        {[]string{"--config.file", "/"}, "", 2, []string{"read /: is a directory"}},
		"a CA file that is missing":  {[]string{"--config.file", noCA}, "", 2, []string{"clusters[0]: read the CA file: open "}},
		"Ray's token for an agent":   {[]string{"--config.file", mixed}, "", 2, []string{"clusters[0].auth.environment: "}},
		"a wrong web configuration":  {[]string{"--config.file", good, "--web.config.file", webFile}, "", 2, []string{"web.config_file: web configuration " + webFile}},
		"a wrong address":            {nil, "RAY_API_SERVER_ADDRESS=ray:8265", 2, []string{`RAY_API_SERVER_ADDRESS: "ray:8265": must be an http or https URL`}},
		"a busy port":                {[]string{"--web.listen-address", taken.Addr().String()}, "", 1, []string{taken.Addr().String() + ": the port is in use"}},
		"nothing to do":              {[]string{"--no-collector.enabled", "--no-shipper.enabled"}, "", 2, []string{"nothing is left to do"}},
		"a log level that is not":    {[]string{"--log.level", "loud"}, "", 2, []string{"log.level: must be one of debug, info, warning, error"}},
		"no sockets from systemd":    {[]string{"--web.systemd-socket"}, "", 1, []string{"take the sockets from systemd: it passed none"}},
		"a mistake, as JSON":         {[]string{"--log.format", "json", "--log.level", "loud"}, "", 2, []string{`"level":"error","msg":"log.level: must be one of`}},
		"a config check that passes": {[]string{"config", "check", good}, "", 0, nil},
		"a config check that warns":  {[]string{"config", "check", useless}, "", 0, []string{`raytap: warning: collector.exclude_metrics[1]: "raytap_nod" matches no family`}},
		"help":                       {[]string{"--help"}, "", 0, nil},
		"version":                    {[]string{"version"}, "", 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := command(t, []string{tt.env}, tt.args...)
			p.start()
			code := p.code()
			lines := strings.Split(strings.TrimSpace(p.stderr.String()), "\n")
			if p.stderr.String() == "" {
				lines = nil
			}
			if code != tt.code || len(lines) != len(tt.want) {
				t.Fatalf("exit code %d, want %d; stderr, %d lines wanted:\n%s", code, tt.code, len(tt.want), p.stderr.String())
			}
			for i, want := range tt.want {
				if !strings.Contains(lines[i], want) {
					t.Errorf("line %d is %q, want %q in it", i, lines[i], want)
				}
			}
			if got := p.stdout.String(); (code == 0) != (got != "") {
				t.Errorf("stdout: %q", got)
			}
		})
	}
}

// flood answers everything with 200 MB of JSON. It is an object, so that it is no
// list of jobs either, which may be that long.
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

func TestAClusterThatIsWrongIsOneLineAndTheRestGoesOn(t *testing.T) {
	guarded := raytest.New(t, raytest.Token("right"))
	hangs, page, well := raytest.New(t), raytest.New(t), raytest.New(t)
	hangs.Inject(raytest.Fault{Action: raytest.Hang})
	page.Inject(raytest.Fault{Action: raytest.HTML})
	big := httptest.NewServer(http.HandlerFunc(flood))
	defer big.Close()
	well.Submit("job-1", raytest.JobOptions{}).Print("hello\n")

	clusters := []struct{ name, settings, want string }{
		{"refused", "url: http://" + program.FreeAddress(t), "connection refused by 127.0.0.1"},
		{"no-token", "url: " + guarded.URL(), "401 "},
		{"wrong-token", "url: " + guarded.URL() + ", auth: {token: hunter2}", "403 "},
		{"no-token-file", "url: " + guarded.URL() + ", auth: {token_file: /nonexistent/token}", "token file /nonexistent/token does not exist: create it"},
		{"hangs", "url: " + hangs.URL() + ", timeout: 1s", "408 "},
		{"page", "url: " + page.URL(), "the answer is HTML, not JSON: is 127.0.0.1"},
		{"big", "url: " + big.URL + ", max_body: 8MiB", "the answer is larger than 8 MiB"},
		{"unknown", "url: http://nowhere.invalid:8265", "the host of nowhere.invalid:8265 is not known: check the url and the DNS"},
		{"not-tls", "url: " + strings.Replace(well.URL(), "http:", "https:", 1), "does not speak TLS: use http:// in the url"},
		{"well", "url: " + well.URL(), ""},
	}
	var file strings.Builder
	file.WriteString("clusters:\n")
	for _, c := range clusters {
		fmt.Fprintf(&file, "  - {name: %s, %s}\n", c.name, c.settings)
	}
	p := command(t, nil, "--config.file", write(t, file.String())).serving()
	p.until("all clusters were tried", func() bool { return strings.Contains(p.page("/-/ready"), "raytap is ready") })
	p.until("the healthy cluster is shipped", func() bool { return strings.Contains(p.stdout.String(), `"message":"hello"`) })
	told := func(name string) (lines []string) {
		field := regexp.MustCompile(`\bray_cluster=` + name + `[ \n]`)
		for line := range strings.Lines(p.stderr.String()) {
			// What a single collector says is of a cluster that answers.
			if strings.Contains(line, "level=warning") && field.MatchString(line) && !strings.Contains(line, " collector=") {
				lines = append(lines, line)
			}
		}
		return lines
	}
	for _, c := range clusters {
		if c.want != "" {
			p.until(c.name+" is told", func() bool { return len(told(c.name)) > 0 })
		}
	}
	metrics := p.page("/metrics")
	for _, c := range clusters {
		lines := told(c.name)
		up := fmt.Sprintf("raytap_up{ray_cluster=%q} ", c.name)
		if c.want == "" {
			if len(lines) > 0 || !strings.Contains(metrics, up+"1") {
				t.Errorf("%s is well, but: %q", c.name, lines)
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
		t.Error("no memory on the page")
	} else if rss := atof(t, m[1]); rss > 150e6 {
		t.Errorf("%.0f MB resident: an answer was not bounded", rss/1e6)
	}
	if strings.Contains(p.stderr.String(), "Bearer") || strings.Contains(p.stderr.String()+metrics, "hunter2") {
		t.Errorf("a token is in the log or on the page:\n%s", p.stderr.String())
	}
	p.Signal(syscall.SIGTERM)
	if code := p.code(); code != 0 {
		t.Errorf("exit code %d after SIGTERM; stderr:\n%s", code, p.stderr.String())
	}
}

func TestConfigShowHasEverythingButSecrets(t *testing.T) {
	file := write(t, "clusters: [{url: 'http://127.0.0.1:1', auth: {token: '${RAY_TOKEN}'}}]\n")
	p := command(t, []string{"RAY_TOKEN=hunter2"}, "config", "show", "--config.file", file, "--log.level", "debug")
	p.start()
	if code := p.code(); code != 0 {
		t.Fatalf("exit code %d: %s", code, p.stderr.String())
	}
	out := p.stdout.String()
	for _, want := range []string{"token: <secret>", "level: debug", "max_replay: 8MiB", "interval: 5s"} {
		if !strings.Contains(out, want) {
			t.Errorf("it lacks %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "hunter2") {
		t.Errorf("it shows the token:\n%s", out)
	}
}

func atof(t *testing.T, s string) (f float64) {
	t.Helper()
	if _, err := fmt.Sscan(s, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestSignals(t *testing.T) {
	head := raytest.New(t)
	job := head.Submit("job-1", raytest.JobOptions{})
	job.Print("hello\n")
	env := []string{"RAY_API_SERVER_ADDRESS=" + head.URL()}

	t.Run("SIGINT stops cleanly, with no configuration at all", func(t *testing.T) {
		p := command(t, env).serving()
		p.until("the line is shipped", func() bool { return strings.Contains(p.stdout.String(), `"ray_cluster":"default"`) })
		p.Signal(syscall.SIGINT)
		if code := p.code(); code != 0 {
			t.Errorf("exit code %d; stderr:\n%s", code, p.stderr.String())
		}
		for line := range strings.Lines(p.stdout.String()) {
			if !strings.HasPrefix(line, "{") || !strings.HasSuffix(line, "}\n") {
				t.Errorf("stdout has %q", line)
			}
		}
	})

	t.Run("SIGHUP reloads", func(t *testing.T) {
		file := write(t, "clusters: [{name: first, url: '"+head.URL()+"'}]\n")
		p := command(t, nil, "--config.file", file).serving()
		if err := os.WriteFile(file, []byte("clusters: [{name: second, url: '"+head.URL()+"'}]\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		p.Signal(syscall.SIGHUP)
		p.until("the second cluster is shown", func() bool { return strings.Contains(p.page("/metrics"), `raytap_up{ray_cluster="second"} 1`) })
		if strings.Contains(p.page("/metrics"), `"first"`) {
			t.Error("the first is still shown")
		}
		p.Signal(syscall.SIGTERM)
		if code := p.code(); code != 0 {
			t.Errorf("exit code %d; stderr:\n%s", code, p.stderr.String())
		}
	})

	t.Run("a second signal exits at once, one that only echoes the first does not", func(t *testing.T) {
		job.Print(strings.Repeat(strings.Repeat("x", 999)+"\n", 500)) // more than a pipe holds
		r, w, err := os.Pipe()                                        // nobody reads it: stopping waits
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		p := command(t, env, "--stop-timeout", "1h")
		p.cmd.Stdout = w
		p.serving()
		w.Close()
		waiting := regexp.MustCompile(`(?m)^raytap_shipper_queue_batches [1-9]`)
		p.until("records wait for the reader", func() bool { return waiting.MatchString(p.page("/metrics")) })
		p.Signal(syscall.SIGTERM)
		p.Signal(syscall.SIGTERM)
		p.until("it is stopping", func() bool { return strings.Contains(p.stderr.String(), "Shutting down; a second signal") })
		again := time.NewTicker(2 * duplicateSignalWindow)
		defer again.Stop()
		<-again.C
		p.Signal(syscall.SIGTERM)
		if code := p.code(); code != 1 || !strings.Contains(p.stderr.String(), "exiting immediately") {
			t.Errorf("exit code %d; stderr:\n%s", code, p.stderr.String())
		}
	})

	t.Run("a reader of stdout that is gone ends raytap", func(t *testing.T) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		p := command(t, env)
		p.cmd.Stdout = w
		if err := errors.Join(r.Close()); err != nil {
			t.Fatal(err)
		}
		p.cmd.Args = append(p.cmd.Args, "--web.listen-address", program.FreeAddress(t))
		p.start()
		w.Close()
		if code := p.code(); code != 1 || !strings.Contains(p.stderr.String(), "its reader has exited") {
			t.Errorf("exit code %d; stderr:\n%s", code, p.stderr.String())
		}
	})
}
