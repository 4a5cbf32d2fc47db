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

// withHead is a cluster that knows what Ray wrote on the head.
type withHead struct {
	*fake
	words string
	err   error
}

func (h withHead) HeadLog(context.Context, string) (string, error) { return h.words, h.err }

// Law: what Ray wrote on the head of a job is shown, and stdout is the log alone.
func TestTheWordsOfTheHeadStandOnStderr(t *testing.T) {
	const log = "of the driver\n"
	says := "raytap: the job ran on another node than the head, where Ray wrote of it:\n  it was set up\n  its node died\\x1b[2J\n"
	for name, tt := range map[string]struct {
		words string
		err   error
		want  string
	}{
		"words":         {words: "it was set up\nits node died\x1b[2J", want: says},
		"none":          {},
		"no such place": {err: &ray.Error{Code: 501}},
		"no answer":     {err: errors.New("down"), want: "raytap: what Ray wrote of the job on the head cannot be read: down\n"},
	} {
		for _, args := range [][]string{{"jobs", "logs", "j"}, {"jobs", "tail", "j"}, {"jobs", "tail", "--lines", "5", "j"}, {"jobs", "tail", "-f", "j"}} {
			t.Run(name+"/"+strings.Join(args, " "), func(t *testing.T) {
				f := &fake{log: log, tail: lines("of the driver"), jobs: []ray.Job{{SubmissionID: "j", Status: ray.JobSucceeded}}}
				var out, stderr bytes.Buffer
				app := kingpin.New("raytap", "")
				c := New(app, Options{
					Console: Console{Out: &out, Err: &stderr}, ConnectFlags: func(Flags) {},
					Connect: func() (Cluster, error) { return withHead{f, tt.words, tt.err}, nil },
				})
				command, err := app.Parse(args)
				if err == nil {
					err = c.Run(t.Context(), command)
				}
				want := tt.want
				if args[2] == "-f" {
					want += "raytap: the job j: SUCCEEDED\n"
				}
				if err != nil || out.String() != log || stderr.String() != want {
					t.Errorf("%v; stdout %q, stderr %q; want %q", err, out.String(), stderr.String(), want)
				}
			})
		}
	}
}
