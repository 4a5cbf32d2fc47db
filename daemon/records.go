package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/sirupsen/logrus"

	"raytap/config"
	"raytap/shipper"
	"raytap/shipper/sink"
)

// records is where lines go, and what remembers which of them did.
type records struct {
	sink      sink.Sink
	file      *sink.File // nil: sink is stdout
	path      string     // of file
	stats     *sink.Stats
	recovered sink.Recovery
	positions *shipper.Positions
	// unsaved tells why positions are in memory only; nil: they are in a file.
	unsaved error
	claim   *sink.Claim // of the sink's file; nil without one
	fsync   config.Fsync
}

// openRecords opens and locks what cfg names, and reads what a raytap before
// this one has left there. On an error nothing stays open.
func openRecords(cfg config.Config, stdout io.Writer, log *logrus.Logger) (*records, error) {
	r := &records{}
	out := cfg.Sink.File
	if !cfg.Shipper.Enabled {
		out = nil
	}
	err := r.openPositions(cfg)
	if err == nil && out != nil {
		err = r.openFile(*out, log)
	}
	if err != nil {
		r.close()
		return nil, err
	}
	if out == nil {
		s := sink.NewStdout(stdout)
		s.Log = log
		r.sink, r.stats = s, s.Stats()
	}
	return r, nil
}

func (r *records) openPositions(cfg config.Config) (err error) {
	file, chosen := cfg.PositionsFile()
	switch {
	case !cfg.Shipper.Enabled:
		file = "" // there is nothing to remember
	case file == "":
		r.unsaved = errors.New("neither XDG_STATE_HOME nor HOME is set")
	}
	r.positions, err = shipper.OpenPositions(file)
	if err == nil && file != "" && r.positions.Empty() {
		// What cannot be written is known before the first line.
		if err = r.positions.Save(context.Background(), sink.Watermark{}); err != nil {
			_ = r.positions.Close()
		}
	}
	var unusable *fs.PathError
	if err != nil && !chosen && errors.As(err, &unusable) {
		r.unsaved = err
		r.positions, err = shipper.OpenPositions("")
	}
	return err
}

// openFile opens the sink's file where the last raytap stopped writing it.
func (r *records) openFile(c config.File, log *logrus.Logger) (err error) {
	path, err := sink.Resolve(string(c.Path))
	if err != nil {
		return fmt.Errorf("open sink file: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return fmt.Errorf("open sink file: %w", err)
	}
	if r.claim, err = sink.Acquire(path); err != nil {
		return err
	}
	r.path = path
	saved := r.positions.Mark()
	if saved.Path != "" { // an earlier process may have saved the link's path
		if to, err := sink.Resolve(saved.Path); err == nil {
			saved.Path = to
		}
	}
	if r.recovered, err = r.claim.Recover(saved, r.positions.Recovered); err != nil {
		return err
	}
	if err := r.judge(path, saved, log); err != nil {
		return err
	}
	policy := sink.FsyncInterval
	switch c.Fsync {
	case config.FsyncAlways:
		policy = sink.FsyncAlways
	case config.FsyncNever:
		policy = sink.FsyncNever
	}
	r.fsync = c.Fsync
	r.file, err = sink.NewFile(sink.FileOptions{
		Path: path, MaxSize: int64(c.Rotate.MaxSize), MaxAge: time.Duration(c.Rotate.MaxAge),
		MaxFiles: c.Rotate.MaxFiles, Gzip: c.Rotate.Gzip, Fsync: policy,
		Saved: saved, Claim: r.claim, Checkpoint: r.positions.Save, Log: log,
	})
	if err != nil {
		return err
	}
	r.sink, r.stats = r.file, r.file.Stats()
	if r.recovered.Status == sink.StatusRecovered {
		return nil
	}
	// From the first record on a watermark of this file must be on disk: without
	// one, what a crash leaves there could not be told from what was there before.
	if err := r.positions.Save(context.Background(), r.file.Durable()); err != nil {
		return errors.Join(err, r.file.Close())
	}
	return nil
}

// judge tells what was found in the sink's file; an error where raytap cannot
// know what it holds.
func (r *records) judge(path string, saved sink.Watermark, log *logrus.Logger) error {
	found := r.recovered
	fields := log.WithFields(logrus.Fields{"file": path, "size": found.Size})
	switch {
	case found.Status == sink.StatusNoWatermark && found.Size > 0 && r.positions.Empty():
		return fmt.Errorf("sink file %s holds records, and there are no positions that tell which: "+
			"raytap would write lines again that it holds. Restore the positions (shipper.positions.file), or move the sink file away, or delete it", path)
	case found.Status == sink.StatusNoWatermark && found.Size == 0, saved.Offset == 0 && found.Status == sink.StatusMissing:
	case found.Status != sink.StatusRecovered:
		fields.Warnf("The sink file is not as it was left: %s. What the positions say was shipped is not shipped again", found.Status)
	case found.Records > 0:
		fields.WithField("records", found.Records).Info("The sink file holds records that were not yet in the saved positions; they are not written again")
	}
	if found.TornBytes > 0 {
		fields.WithField("bytes", found.TornBytes).Warn("A torn last record was cut off the sink file; its line is written again")
	}
	return nil
}

// interval is how often positions are saved, given what is configured: not more
// often than the file is synced, which comes before each save.
func (r *records) interval(configured config.Duration) time.Duration {
	return max(time.Duration(configured), time.Duration(r.fsync))
}

// run does what a file needs beside its writer until ctx ends: it compresses
// what was rotated, and syncs more often than positions are saved where the
// policy says so.
func (r *records) run(ctx context.Context, saves time.Duration) error {
	if r.file == nil {
		<-ctx.Done()
		return nil
	}
	if every := time.Duration(r.fsync); every > 0 && every < saves {
		syncing := start(ctx, func(ctx context.Context) error { return r.syncEvery(ctx, every) })
		defer func() { <-syncing.ended }()
		defer syncing.cancel()
	}
	return r.file.Run(ctx)
}

func (r *records) syncEvery(ctx context.Context, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			// The writer meets the failure, too, and ends the daemon.
			_ = r.file.Sync(ctx)
		}
	}
}

// close lets the locks go that are left. The sink is closed by the output that owns it.
func (r *records) close() {
	if r.claim != nil {
		_ = r.claim.Close() // where no file has it
	}
	if r.positions != nil {
		_ = r.positions.Close()
	}
}
