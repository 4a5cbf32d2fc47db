package cli

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kingpin/v2"
)

func TestPositionsShow(t *testing.T) {
	saved := SavedPositions{File: "/p.db", Data: map[string]int{"version": 1}, Sink: "/x.jsonl", SinkNumber: 3, SinkOffset: 77, Excluded: 2, Logs: []SavedLog{
		{Cluster: "b", SubmissionID: "second", Session: "s", Status: "RUNNING", Epoch: 1, Lines: 12, Bytes: 2048, LastLine: now.Add(-time.Minute), PendingEvents: 1},
		{Cluster: "a", SubmissionID: "first", Session: "s", Status: "SUCCEEDED", Lines: 3, Bytes: 5, Done: true, LastLine: now.Add(-time.Hour), UnlistedSince: now.Add(-time.Minute)},
		{Cluster: "b", SubmissionID: "second", Log: "worker-7.out", Session: "s", Lines: 9, Bytes: 90, LastLine: now.Add(-2 * time.Minute)},
	}}
	for name, tt := range map[string]struct {
		args           string
		err            error
		stdout, stderr string
		read           string
	}{
		"the configured file": {"positions show", nil, `CLUSTER  ID            SESSION  STATUS     LOG    EPOCH  LINES  BYTES  LAST LINE  NOT LISTED SINCE  PENDING
a        first         s        SUCCEEDED  ended      0      3     5B  1h ago     1m ago
b        second        s        RUNNING    open       1     12   2KiB  1m ago                             1
b        worker-7.out  s                   open       0      9    90B  2m ago
`, "raytap: sink file /x.jsonl: committed up to byte 77, file number 3\nraytap: 2 jobs are excluded by the backfill setting\n", "/configured.db,"},
		"a given file":       {"positions show --cluster a /p.db -o json", nil, "{\n  \"version\": 1\n}\n", "", "/p.db,a"},
		"YAML":               {"positions show -o yaml", nil, "version: 1\n", "", "/configured.db,"},
		"an unreadable file": {"positions show /p.db", errors.New("it is corrupt"), "", "it is corrupt", "/p.db,"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			read := ""
			app := kingpin.New("raytap", "")
			c := New(app, Options{
				Console:      Console{Out: &out, Err: &errs, Now: func() time.Time { return now }},
				ConnectFlags: func(Flags) {},
				Connect: func() (Cluster, error) {
					t.Error("it connects to a cluster")
					return nil, errors.New("none")
				},
				PositionsFile: func() (string, error) { return "/configured.db", nil },
				Positions: func(file, cluster string) (SavedPositions, error) {
					read = file + "," + cluster
					return saved, tt.err
				},
			})
			command, err := app.Parse(strings.Fields(tt.args))
			if err != nil || !c.Has(command) {
				t.Fatalf("%s: %v", command, err)
			}
			err = c.Run(context.Background(), command)
			if tt.err != nil {
				errs.WriteString(ErrorMessage(err))
			}
			if !errors.Is(err, tt.err) || out.String() != tt.stdout || errs.String() != tt.stderr || read != tt.read {
				t.Errorf("%v, read %s\nstdout:\n%s\nstderr:\n%s", err, read, out.String(), errs.String())
			}
		})
	}
}
