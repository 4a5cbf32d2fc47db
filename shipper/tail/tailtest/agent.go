// Package tailtest makes the files of a node agent out of a fake that has only a job's
// current log, for tests.
package tailtest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/cespare/xxhash/v2"

	"raytap/ray"
)

// Logs is a fake with the current log of each job.
type Logs interface {
	AgentLog(ctx context.Context, ref ray.LogRef, from int64) (ray.LogRange, error)
}

// Stat describes a file. There are no rotated ones: code 404.
func Stat(ctx context.Context, logs Logs, agentURL, name string) (ray.FileStat, error) {
	st, _, err := whole(ctx, logs, agentURL, name)
	return st, err
}

// Read returns the bytes [from,to) of a file, to its end if to is 0.
func Read(ctx context.Context, logs Logs, agentURL, name string, from, to int64) (ray.FilePart, error) {
	st, text, err := whole(ctx, logs, agentURL, name)
	if err != nil {
		return ray.FilePart{}, err
	}
	if from >= st.Size {
		return ray.FilePart{Body: http.NoBody, Offset: from, FileStat: ray.FileStat{Size: st.Size}}, nil
	}
	if to == 0 || to > st.Size {
		to = st.Size
	}
	return ray.FilePart{Body: io.NopCloser(strings.NewReader(text[from:to])), Offset: from, FileStat: st}, nil
}

func whole(ctx context.Context, logs Logs, agentURL, name string) (ray.FileStat, string, error) {
	id, ok := strings.CutSuffix(strings.TrimPrefix(name, "job-driver-"), ".log")
	if !ok {
		return ray.FileStat{}, "", &ray.Error{Op: "read log from node agent", Code: http.StatusNotFound}
	}
	part, err := logs.AgentLog(ctx, ray.LogRef{SubmissionID: id, AgentURL: agentURL}, 0)
	if err != nil {
		return ray.FileStat{}, "", err
	}
	defer part.Body.Close()
	text, err := io.ReadAll(part.Body)
	return ray.FileStat{Size: int64(len(text)), ETag: fmt.Sprintf("%x", xxhash.Sum64(text))}, string(text), err
}
