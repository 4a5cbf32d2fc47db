package cli

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/alecthomas/kingpin/v2"

	"raytap/ray"
)

// withHead is a cluster with a log of the job on the head node.
type withHead struct {
	*fake
	text string
	err  error
}

func (h withHead) HeadLog(context.Context, string) (string, error) { return h.text, h.err }

// Ray's log on the head node goes to stderr; stdout has only the job's log.
func TestHeadLog_Stderr(t *testing.T) {
	const log = "of the driver\n"
	message := "raytap: the job did not run on the head node; Ray's log of the job on the head node:\n  it was set up\n  its node died\\x1b[2J\n"
	for name, tt := range map[string]struct {
		text string
		err  error
		want string
	}{
		"a log":         {text: "it was set up\nits node died\x1b[2J", want: message},
		"no log":        {},
		"not supported": {err: &ray.Error{Code: 501}},
		"unreachable":   {err: errors.New("down"), want: "raytap: cannot read Ray's log of the job on the head node: down\n"},
	} {
		for _, args := range [][]string{{"jobs", "logs", "j"}, {"jobs", "tail", "j"}, {"jobs", "tail", "--lines", "5", "j"}, {"jobs", "tail", "-f", "j"}} {
			t.Run(name+"/"+strings.Join(args, " "), func(t *testing.T) {
				f := &fake{log: log, tail: lines("of the driver"), jobs: []ray.Job{{SubmissionID: "j", Status: ray.JobSucceeded}}}
				var out, stderr bytes.Buffer
				app := kingpin.New("raytap", "")
				c := New(app, Options{
					Console: Console{Out: &out, Err: &stderr}, ConnectFlags: func(Flags) {},
					Connect: func() (Cluster, error) { return withHead{f, tt.text, tt.err}, nil },
				})
				command, err := app.Parse(args)
				if err == nil {
					err = c.Run(t.Context(), command)
				}
				want := tt.want
				if args[2] == "-f" {
					want += "raytap: job j: SUCCEEDED\n"
				}
				if err != nil || out.String() != log || stderr.String() != want {
					t.Errorf("%v; stdout %q, stderr %q; want %q", err, out.String(), stderr.String(), want)
				}
			})
		}
	}
}
