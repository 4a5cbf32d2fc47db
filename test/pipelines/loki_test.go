//go:build e2e && linux

package pipelines

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// lokiPath is the path of the Loki API in VictoriaLogs, as in deploy/pipelines.
const lokiPath = "/insert/loki/api/v1/push?disable_message_parsing=1"

// pushLoki sends records by Loki's API like the configurations for Loki: ray_cluster and
// source are labels, the rest of the key is structured metadata.
func pushLoki(t *testing.T, store string, records map[key]record) {
	t.Helper()
	type stream struct {
		Stream map[string]string `json:"stream"`
		Values [][3]any          `json:"values"`
	}
	var s stream
	for k, r := range records {
		at, err := time.Parse(time.RFC3339Nano, r.Time)
		if err != nil {
			t.Fatal(err)
		}
		s.Stream = map[string]string{"ray_cluster": k.Cluster, "source": r.Source}
		meta := map[string]string{
			"session": k.Session, "submission_id": r.ID, "epoch": strconv.Itoa(k.Epoch), "seq": strconv.Itoa(k.Seq),
		}
		if r.Lines > 0 {
			meta["lines"] = strconv.Itoa(r.Lines)
		}
		for name, value := range map[string]string{"event": k.Event, "level": r.Level, "line_time": r.LineTime, "worker_name": r.WorkerName} {
			if value != "" {
				meta[name] = value
			}
		}
		s.Values = append(s.Values, [3]any{strconv.FormatInt(at.UnixNano(), 10), r.Message, meta})
	}
	body, err := json.Marshal(map[string]any{"streams": []stream{s}})
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.Post(store+lokiPath, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode/100 != 2 {
		t.Fatalf("VictoriaLogs: %s", res.Status)
	}
}

// Records sent by Loki's API are in VictoriaLogs as raytap wrote them, also lines that are
// JSON.
func TestPipelines_LokiFormatInVictoriaLogs(t *testing.T) {
	s := newPipeline(t, nil)
	s.print()
	s.end()
	s.raytap.Until(time.Minute, "all end events are written", func() bool { return s.ended(strings.Join(s.files(), "")) })
	want := s.written(s.files()...)
	pushLoki(t, s.store, want)
	if duplicated := s.awaitStored(want); duplicated > 0 {
		t.Errorf("%d duplicated records", duplicated)
	}
}
