//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"raytap/test/realray"
)

// listenAddress is raytap's usual port on loopback, or another free one.
func listenAddress() (string, error) {
	const usual = "127.0.0.1:9265"
	if l, err := net.Listen("tcp", usual); err == nil {
		return usual, l.Close()
	}
	ports, err := realray.FreePorts(1)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("127.0.0.1:%d", ports[0]), nil
}

func (d *demo) whereToLook(serve string) string {
	return fmt.Sprintf(`
    metrics            %s/metrics
    raytap's status    %s/
    Ray's dashboard    %s
    the Serve app      %s

    Ctrl-C stops everything.
`, d.page, d.page, d.head.URL, serve)
}

// showMetrics prints an extract of /metrics every 30 s, until ctx ends.
func (d *demo) showMetrics(ctx context.Context, serve string) {
	for wait := 12 * time.Second; ; wait = 30 * time.Second {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		extract, err := d.extract(ctx)
		switch {
		case errors.Is(err, context.Canceled):
			return
		case err != nil:
			d.say("reading the metrics failed: %v", err)
		default:
			d.say("shipped so far: %s; from %s/metrics:\n\n%s\n%s", &d.shipped, d.page, extract, d.whereToLook(serve))
		}
	}
}

// shown are the prefixes of the lines of /metrics that the demo prints.
var shown = []string{
	"raytap_up", "raytap_jobs{", "raytap_nodes{", "raytap_tasks{", "raytap_serve_application_status{",
	"raytap_pending_demand{", "raytap_jobs_finished_total{", "raytap_shipper_lines_total{", "raytap_shipper_tails{",
	"raytap_shipper_files{",
}

// extract returns the lines of /metrics that are shown and not zero.
func (d *demo) extract(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.page+"/metrics", nil)
	if err != nil {
		return "", err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("HTTP %d", res.StatusCode)
	}
	var b strings.Builder
	lines := bufio.NewScanner(io.LimitReader(res.Body, 16<<20))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if isShown(line) && !strings.HasSuffix(line, " 0") {
			fmt.Fprintf(&b, "    %s\n", line)
		}
	}
	return b.String(), lines.Err()
}

func isShown(line string) bool {
	for _, prefix := range shown {
		if strings.HasPrefix(line, prefix) {
			return true
		}
	}
	return false
}
