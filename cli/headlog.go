package cli

import (
	"context"
	"net/http"
	"strings"

	"raytap/ray"
)

// headLogger is a cluster that knows what Ray wrote on its head of a job that ran on
// another node; "" is nothing.
type headLogger interface {
	HeadLog(ctx context.Context, id string) (string, error)
}

// noteHeadLog shows what Ray wrote on the head of a job that ran on another node. It
// is no part of the log, so it goes to stderr, and what hinders it is no error.
func noteHeadLog(ctx context.Context, cluster any, id string, console Console) {
	from, ok := cluster.(headLogger)
	if !ok {
		return
	}
	words, err := from.HeadLog(ctx, id)
	switch {
	case ctx.Err() != nil:
	case ray.Code(err) == http.StatusNotFound, ray.Code(err) == http.StatusNotImplemented:
	case err != nil:
		console.notef("what Ray wrote of the job on the head cannot be read: %v", err)
	case words != "":
		var b strings.Builder
		for line := range strings.Lines(words) {
			b.WriteString("\n  " + printable(strings.TrimRight(line, "\r\n"), false))
		}
		console.notef("the job ran on another node than the head, where Ray wrote of it:%s", b.String())
	}
}
