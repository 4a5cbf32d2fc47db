package cli

import (
	"context"
	"io"
)

type logReader interface {
	JobLogs(ctx context.Context, id string) (io.ReadCloser, error)
}

// printLog copies a whole log to out, byte by byte.
func printLog(ctx context.Context, from logReader, id string, out io.Writer) error {
	log, err := from.JobLogs(ctx, id)
	if err != nil {
		return err
	}
	defer log.Close()
	_, err = io.Copy(out, log)
	return err
}
