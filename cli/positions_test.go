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
	saved := SavedPositions{File: "/p.db", Answer: map[string]int{"version": 1}, Sink: "/x.jsonl", SinkNumber: 3, SinkOffset: 77, LeftOut: 2, Logs: []SavedLog{
		{Cluster: "b", SubmissionID: "second", Session: "s", Status: "RUNNING", Epoch: 1, Lines: 12, Bytes: 2048, LastLine: now.Add(-time.Minute), Owed: 1},
		{Cluster: "a", SubmissionID: "first", Session: "s", Status: "SUCCEEDED", Lines: 3, Bytes: 5, Done: true, LastLine: now.Add(-time.Hour), Gone: now.Add(-time.Minute)},
	}}
	for name, tt := range map[string]struct {
		args           string
		err            error
		stdout, stderr string
		asked          string
	}{
		"the configuration's": {"positions show", nil, `CLUSTER  ID      SESSION  STATUS     LOG    EPOCH  LINES  BYTES  LAST LINE  NOT LISTED SINCE  OWED
a        first   s        SUCCEEDED  ended      0      3     5B  1h ago     1m ago
b        second  s        RUNNING    open       1     12   2KiB  1m ago                          1
`, "raytap: /x.jsonl is accounted for up to byte 77, as file 3\nraytap: 2 jobs are not shipped, as the backfill has it\n", "/configured.db,"},
		"a file's":        {"positions show --cluster a /p.db -o json", nil, "{\n  \"version\": 1\n}\n", "", "/p.db,a"},
		"in YAML":         {"positions show -o yaml", nil, "version: 1\n", "", "/configured.db,"},
		"none to be read": {"positions show /p.db", errors.New("it is corrupt"), "", "it is corrupt", "/p.db,"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			asked := ""
			app := kingpin.New("raytap", "")
			c := New(app, Options{
				Console:      Console{Out: &out, Err: &errs, Now: func() time.Time { return now }},
				ConnectFlags: func(Flags) {},
				Connect: func() (Cluster, error) {
					t.Error("a cluster was asked")
					return nil, errors.New("none")
				},
				PositionsFile: func() (string, error) { return "/configured.db", nil },
				Positions: func(file, cluster string) (SavedPositions, error) {
					asked = file + "," + cluster
					return saved, tt.err
				},
			})
			command, err := app.Parse(strings.Fields(tt.args))
			if err != nil || !c.Has(command) {
				t.Fatalf("%s: %v", command, err)
			}
			err = c.Run(context.Background(), command)
			if tt.err != nil {
				errs.WriteString(Explain(err))
			}
			if !errors.Is(err, tt.err) || out.String() != tt.stdout || errs.String() != tt.stderr || asked != tt.asked {
				t.Errorf("%v, asked for %s\nstdout:\n%s\nstderr:\n%s", err, asked, out.String(), errs.String())
			}
		})
	}
}
