//go:build e2e && linux

package test

import (
	"bufio"
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

// A daemon is a running raytap and all that it has said.
type daemon struct {
	*program.Process
	url   string        // of its own page
	ended chan struct{} // closed once it has ended and its output is read

	mu      sync.Mutex
	streams streams
	records int
	bad     error // the first line of output that is no record
}

// settings are what the tests vary of a configuration. The rest is as a user
// has it, but for a port of its own.
type settings struct {
	Protocol   string // auto if empty
	NodeAgents string // auto if empty
	Shipper    string // more keys of the shipper section, in YAML flow style: "a: b, c: d"
	Backfill   string // running if empty
	Token      string
	Clusters   string    // more clusters, items of a list in YAML, each indented by two
	Listen     string    // where its page is; a free port of loopback if empty
	Sink       string    // a file for the records, with its positions beside it; stdout if empty
	Tee        io.Writer // also gets every byte of the output
}

// startDaemon runs raytap on the head, for the jobs of this test alone, until
// the test ends, and returns when it is ready.
func startDaemon(t *testing.T, head *realray.Head, s settings) *daemon {
	t.Helper()
	listen := orElse(s.Listen, freeAddress(t))
	config := fmt.Sprintf(`clusters:
  - name: e2e
    url: %q
    auth: {token: %q}
    node_agents: {mode: %s}
%sshipper: {protocol: %s, include: [{metadata: {test: %q}}], discovery: {interval: 2s, backfill: %s}%s}
web: {listen_addresses: [%q]}
`, head.URL, s.Token, orElse(s.NodeAgents, "auto"), s.Clusters, orElse(s.Protocol, "auto"), t.Name(),
		orElse(s.Backfill, "running"), prefixed(s.Shipper), listen)
	if s.Token == "" {
		config = strings.Replace(config, "    auth: {token: \"\"}\n", "", 1)
	}
	if s.Sink != "" {
		config += fmt.Sprintf("sink: {file: {path: %q, rotate: {max_size: 1MiB}}}\n", s.Sink)
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

func orElse(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

func prefixed(more string) string {
	if more == "" {
		return ""
	}
	return ", " + more
}

// runDaemon starts raytap with arguments and an environment of the test's choice.
func runDaemon(t *testing.T, tee io.Writer, env []string, args ...string) *daemon {
	t.Helper()
	d := &daemon{ended: make(chan struct{}), streams: make(streams)}
	cmd := program.Raytap(t, args...)
	// Positions are each daemon's own, and none of this user's.
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
	t.Cleanup(func() { // before Start's
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
				_, _ = tee.Write(line) // the reader of the tee counts for itself
			}
			d.take(line)
		}
		if err != nil {
			return
		}
	}
}

func (d *daemon) take(line []byte) {
	rec, err := parseRecord(line)
	if err == nil && line[len(line)-1] != '\n' {
		err = errors.New("the last record is torn")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil && d.bad == nil {
		d.bad = err
	}
	if err == nil {
		d.records++
		d.streams[rec.SubmissionID] = append(d.streams[rec.SubmissionID], rec)
	}
}

// shipped gives what came out so far, and how many records that is.
func (d *daemon) shipped(t *testing.T) (streams, int) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bad != nil {
		t.Errorf("raytap's output: %v", d.bad)
	}
	return maps.Clone(d.streams), d.records
}

// waitEnds returns when each of the jobs has an end event. One that has none
// within the limit fails the test, which goes on, to say what is there.
func (d *daemon) waitEnds(t *testing.T, limit time.Duration, ids ...string) {
	t.Helper()
	err := poll(limit, func() error {
		got, _ := d.shipped(t)
		for _, id := range ids {
			records := got[id]
			if len(records) == 0 || records[len(records)-1].Event != "end" {
				return fmt.Errorf("job %s has %d records and no end", id, len(records))
			}
		}
		return d.running()
	})
	if err != nil {
		t.Errorf("not every job has its end event within %s: %v", limit, err)
	}
}

func (d *daemon) running() error {
	select {
	case <-d.ended:
		return fmt.Errorf("raytap ended: %v: %s", d.Cmd.ProcessState, program.Last(d.Output.String(), 1000))
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

// stop asks raytap to end, checks that it ends cleanly and in time, and gives
// the time that it took.
func (d *daemon) stop(t *testing.T) time.Duration {
	t.Helper()
	start := time.Now()
	if code := d.Stop(15 * time.Second); code != 0 {
		t.Errorf("raytap ended with %d after SIGTERM, want exit code 0", code)
	}
	took := time.Since(start)
	<-d.ended
	return took
}

// get fetches a page.
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
