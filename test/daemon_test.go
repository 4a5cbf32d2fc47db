//go:build e2e && linux

package test

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"raytap/test/program"
	"raytap/test/realray"
)

// A daemon is a running raytap and its records.
type daemon struct {
	*program.Process
	url   string        // of its HTTP server
	ended chan struct{} // closed when it has exited and its output is read

	mu      sync.Mutex
	byJob   recordsByJob
	records int
	invalid error // of the first line that is not a record
}

// settings are the parts of raytap's configuration that differ between tests.
type settings struct {
	Protocol   string // auto if empty
	NodeAgents string // auto if empty
	Shipper    string // more keys of the shipper section, in YAML flow style: "a: b, c: d"
	Backfill   string // running if empty
	Token      string
	Clusters   string    // more clusters: YAML list items, indented by two
	Listen     string    // listen address; a free loopback port if empty
	Sink       string    // sink file; stdout if empty
	AllJobs    bool      // ship all logs, not only those of this test's jobs
	Tee        io.Writer // receives a copy of stdout
}

// startDaemon starts raytap on the head, for the jobs of this test only, and waits until
// it is ready. It runs until the test ends.
func startDaemon(t *testing.T, head *realray.Head, s settings) *daemon {
	t.Helper()
	listen := cmp.Or(s.Listen, freeAddress(t))
	config := fmt.Sprintf(`clusters:
  - name: e2e
    url: %q
    auth: {token: %q}
    node_agents: {mode: %s}
%sshipper: {protocol: %s, include: [{metadata: {test: %q}}], discovery: {interval: 2s, backfill: %s}%s}
web: {listen_addresses: [%q]}
`, head.URL, s.Token, cmp.Or(s.NodeAgents, "auto"), s.Clusters, cmp.Or(s.Protocol, "auto"), t.Name(),
		cmp.Or(s.Backfill, "running"), withComma(s.Shipper), listen)
	if s.Token == "" {
		config = strings.Replace(config, "    auth: {token: \"\"}\n", "", 1)
	}
	if s.Sink != "" {
		config += fmt.Sprintf("sink: {file: {path: %q, rotate: {max_size: 1MiB, max_files: 1000}}}\n", s.Sink)
	}
	if s.AllJobs {
		config = strings.Replace(config, fmt.Sprintf("include: [{metadata: {test: %q}}], ", t.Name()), "", 1)
	}
	file := filepath.Join(t.TempDir(), "raytap.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	d := runDaemon(t, s.Tee, realray.CleanEnv(), "--config.file", file)
	d.url = "http://" + listen
	d.waitReady(t)
	return d
}

func freeAddress(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", freePort(t))
}

// withComma returns more keys of a YAML mapping in flow style.
func withComma(keys string) string {
	if keys == "" {
		return ""
	}
	return ", " + keys
}

// runDaemon starts raytap with the given arguments and environment.
func runDaemon(t *testing.T, tee io.Writer, env []string, args ...string) *daemon {
	t.Helper()
	d := &daemon{ended: make(chan struct{}), byJob: make(recordsByJob)}
	cmd := program.Raytap(t, args...)
	// Each daemon has its own positions.
	cmd.Env = append(slices.Clone(env), "XDG_STATE_HOME="+t.TempDir())
	out, w := io.Pipe()
	cmd.Stdout = w
	d.Process = program.Start(t, cmd)
	go func() {
		<-d.Exited
		w.Close()
	}()
	go func() {
		defer close(d.ended)
		d.read(out, tee)
	}()
	t.Cleanup(func() { // runs before the cleanup of Start
		d.Kill()
		<-d.ended
	})
	return d
}

func (d *daemon) read(out io.Reader, tee io.Writer) {
	r := bufio.NewReaderSize(out, 1<<16)
	for {
		line, err := r.ReadBytes('\n')
		if len(line) > 0 {
			if tee != nil {
				_, _ = tee.Write(line) // the reader of the tee reports errors
			}
			d.addLine(line)
		}
		if err != nil {
			return
		}
	}
}

func (d *daemon) addLine(line []byte) {
	rec, err := parseRecord(line)
	if err == nil && line[len(line)-1] != '\n' {
		err = errors.New("the last record is incomplete")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil && d.invalid == nil {
		d.invalid = err
	}
	if err == nil {
		d.records++
		d.byJob[rec.SubmissionID] = append(d.byJob[rec.SubmissionID], rec)
	}
}

// shipped returns the records so far, and their number.
func (d *daemon) shipped(t *testing.T) (recordsByJob, int) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.invalid != nil {
		t.Errorf("raytap's output: %v", d.invalid)
	}
	return maps.Clone(d.byJob), d.records
}

// waitEnds waits until each of the jobs has an end event. A timeout fails the test, but
// does not stop it.
func (d *daemon) waitEnds(t *testing.T, limit time.Duration, ids ...string) {
	t.Helper()
	err := poll(limit, func() error {
		got, _ := d.shipped(t)
		for _, id := range ids {
			records := got[id]
			if len(records) == 0 || records[len(records)-1].Event != "end" {
				return fmt.Errorf("job %s has %d records and no end event", id, len(records))
			}
		}
		return d.running()
	})
	if err != nil {
		t.Errorf("timeout after %s: %v", limit, err)
	}
}

func (d *daemon) running() error {
	select {
	case <-d.ended:
		return fmt.Errorf("raytap exited: %v: %s", d.Cmd.ProcessState, program.Last(d.Output.String(), 1000))
	default:
		return nil
	}
}

func (d *daemon) waitReady(t *testing.T) {
	t.Helper()
	eventually(t, 30*time.Second, "raytap is ready", func() error {
		if err := d.running(); err != nil {
			t.Fatal(err)
		}
		_, err := get(t.Context(), d.url+"/-/ready")
		return err
	})
}

// stop stops raytap with SIGTERM, and checks the exit code and the duration, which it
// returns.
func (d *daemon) stop(t *testing.T) time.Duration {
	t.Helper()
	start := time.Now()
	if code := d.Stop(15 * time.Second); code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
	took := time.Since(start)
	<-d.ended
	return took
}

// get returns the body of a response with status 200.
func get(ctx context.Context, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: HTTP %d: %s", url, res.StatusCode, program.Last(string(body), 300))
	}
	return body, err
}
