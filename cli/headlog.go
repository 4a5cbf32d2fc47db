package cli

import (
	"context"
	"net/http"
	"strings"

	"raytap/ray"
)

// headLogger is a cluster that can return what Ray logged on the head node about a
// job that ran on another node; "" if there is nothing.
type headLogger interface {
	HeadLog(ctx context.Context, id string) (string, error)
}

// showHeadLog prints what Ray logged on the head node about a job that ran on another
// node. It is not part of the job's log: it goes to stderr, and a failure is reported
// but not an error.
func showHeadLog(ctx context.Context, cluster any, id string, console Console) {
	from, ok := cluster.(headLogger)
	if !ok {
		return
	}
	text, err := from.HeadLog(ctx, id)
	switch {
	case ctx.Err() != nil:
	case ray.Code(err) == http.StatusNotFound, ray.Code(err) == http.StatusNotImplemented:
	case err != nil:
		console.infof("cannot read Ray's log of the job on the head node: %v", err)
	case text != "":
		var b strings.Builder
		for line := range strings.Lines(text) {
			b.WriteString("\n  " + printable(strings.TrimRight(line, "\r\n"), false))
		}
		console.infof("the job did not run on the head node; Ray's log of the job on the head node:%s", b.String())
	}
}
