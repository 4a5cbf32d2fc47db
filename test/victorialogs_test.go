//go:build e2e && linux

package test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"raytap/test/program"
	"raytap/test/realray"
)

// startServer runs a third-party server until the test ends.
func startServer(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(program.Tool(t, "bin/"+name), args...)
	cmd.Env = realray.CleanEnv()
	program.Start(t, cmd)
}

func freePort(t *testing.T) int {
	t.Helper()
	ports, err := realray.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	return ports[0]
}

func TestVictoriaLogs_StoresEveryRecord(t *testing.T) {
	t.Parallel()
	head := sharedHead(t)
	base := fmt.Sprintf("http://127.0.0.1:%d", freePort(t))
	startServer(t, "victoria-logs", "-storageDataPath="+t.TempDir(), "-retentionPeriod=100y",
		"-httpListenAddr="+strings.TrimPrefix(base, "http://"),
		"-insert.maxLineSizeBytes=2097152") // the default is shorter than the longest record
	eventually(t, 30*time.Second, "VictoriaLogs is up", func() error {
		_, err := get(t.Context(), base+"/health")
		return err
	})

	// The jobs have ended before raytap starts.
	jobs := submitAll(t, head, []printer{
		{Mode: "lines", Count: 20_000, Seconds: 1},
		{Mode: "long", Count: 12, Seconds: 1},
		{Mode: "bytes", Count: 1_000, Seconds: 1},
	})
	status := waitAll(t, head, time.Minute, jobs)
	body, tee := io.Pipe()
	d := startDaemon(t, head, settings{Backfill: "all", Tee: tee})
	inserted := make(chan error, 1)
	go func() { inserted <- insert(t.Context(), base, body) }()
	d.waitEnds(t, time.Minute, ids(jobs)...)
	d.stop(t)
	tee.Close()
	if err := <-inserted; err != nil {
		t.Fatal(err)
	}

	got, records := d.shipped(t)
	for _, j := range jobs {
		checkRecords(t, "backfill", j.printer, j.id, status[j.id], got[j.id])
		eventually(t, 30*time.Second, "VictoriaLogs has every record", func() error {
			// The key of a record in docs/records.md.
			n, err := count(t.Context(), base, fmt.Sprintf(
				"submission_id:=%q | stats count_uniq(session, log, epoch, seq, event) n", j.id))
			if err == nil && n != len(got[j.id]) {
				err = fmt.Errorf("%d of %d records of job %s", n, len(got[j.id]), j.name())
			}
			return err
		})
	}
	if n, err := count(t.Context(), base, "* | stats count() n"); err != nil || n != records {
		t.Errorf("VictoriaLogs has %d records, want %d: %v", n, records, err)
	}
	t.Logf("%d records shipped and stored", records)
}

func insert(ctx context.Context, base string, body io.Reader) error {
	query := url.Values{"_stream_fields": {"ray_cluster,submission_id,source"}, "_time_field": {"time"}, "_msg_field": {"message"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/insert/jsonline?"+query.Encode(), body)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("insert: HTTP %d", res.StatusCode)
	}
	return nil
}

// count returns the value n of the only row of a LogsQL query.
func count(ctx context.Context, base, query string) (int, error) {
	body, err := get(ctx, base+"/select/logsql/query?"+url.Values{"query": {query}}.Encode())
	if err != nil {
		return 0, err
	}
	line, err := bufio.NewReader(bytes.NewReader(body)).ReadBytes('\n')
	if err != nil {
		return 0, fmt.Errorf("query %s: %q: %w", query, body, err)
	}
	var row struct{ N string }
	if err := json.Unmarshal(line, &row); err != nil {
		return 0, err
	}
	return strconv.Atoi(row.N)
}
