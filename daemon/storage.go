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

	"raytap/shipper/checkpoint"

	"github.com/sirupsen/logrus"

	"raytap/config"
	"raytap/shipper/sink"
)

// storage is the sink, and the positions of what was written to it.
type storage struct {
	sink      sink.Sink
	file      *sink.File // nil: sink is stdout
	path      string     // of file
	stats     *sink.Stats
	recovered sink.Recovery
	positions *checkpoint.Store
	// notSaved is why positions are in memory only; nil: they are in a file.
	notSaved error
	claim    *sink.Claim // of the sink's file; nil without one
	fsync    config.Fsync
}

// openStorage opens and locks the sink and the positions of cfg, and recovers what
// an earlier raytap left there. On an error nothing stays open.
func openStorage(cfg config.Config, stdout io.Writer, log *logrus.Logger) (*storage, error) {
	s := &storage{}
	out := cfg.Sink.File
	if !cfg.Shipper.Enabled {
		out = nil
	}
	err := s.openPositions(cfg)
	if err == nil && out != nil {
		err = s.openFile(*out, log)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	if out == nil {
		stdout := sink.NewStdout(stdout)
		stdout.Log = log
		s.sink, s.stats = stdout, stdout.Stats()
	}
	return s, nil
}

func (s *storage) openPositions(cfg config.Config) (err error) {
	file, configured := cfg.PositionsFile()
	switch {
	case !cfg.Shipper.Enabled:
		file = "" // there are no positions
	case file == "":
		s.notSaved = errors.New("neither XDG_STATE_HOME nor HOME is set")
	}
	s.positions, err = checkpoint.Open(file)
	if err == nil && file != "" && s.positions.Empty() {
		// Find out that it cannot be written before the first line.
		if err = s.positions.Save(context.Background(), sink.Watermark{}); err != nil {
			_ = s.positions.Close()
		}
	}
	var unusable *fs.PathError
	if err != nil && !configured && errors.As(err, &unusable) {
		s.notSaved = err
		s.positions, err = checkpoint.Open("")
	}
	return err
}

// openFile opens the sink's file after the last record of an earlier raytap.
func (s *storage) openFile(c config.File, log *logrus.Logger) (err error) {
	path, err := sink.Resolve(string(c.Path))
	if err != nil {
		return fmt.Errorf("open sink file: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return fmt.Errorf("open sink file: %w", err)
	}
	if s.claim, err = sink.Acquire(path); err != nil {
		return err
	}
	s.path = path
	saved := s.positions.Watermark()
	if saved.Path != "" { // an earlier process may have saved the link's path
		if to, err := sink.Resolve(saved.Path); err == nil {
			saved.Path = to
		}
	}
	if s.recovered, err = s.claim.Recover(saved, s.positions.Recovered); err != nil {
		return err
	}
	if err := s.checkRecovery(path, saved, log); err != nil {
		return err
	}
	policy := sink.FsyncInterval
	switch c.Fsync {
	case config.FsyncAlways:
		policy = sink.FsyncAlways
	case config.FsyncNever:
		policy = sink.FsyncNever
	}
	s.fsync = c.Fsync
	s.file, err = sink.NewFile(sink.FileOptions{
		Path: path, MaxSize: int64(c.Rotate.MaxSize), MaxAge: time.Duration(c.Rotate.MaxAge),
		MaxFiles: c.Rotate.MaxFiles, Gzip: c.Rotate.Gzip, Fsync: policy,
		Saved: saved, Claim: s.claim, Checkpoint: s.positions.Save, Log: log,
	})
	if err != nil {
		return err
	}
	s.sink, s.stats = s.file, s.file.Stats()
	if s.recovered.Status == sink.StatusRecovered {
		return nil
	}
	// A watermark of this file must be on disk before the first record: without it,
	// records after a crash could not be distinguished from older content.
	if err := s.positions.Save(context.Background(), s.file.Durable()); err != nil {
		return errors.Join(err, s.file.Close())
	}
	return nil
}

// checkRecovery logs what was found in the sink's file. It returns an error if
// raytap cannot know which lines the file has.
func (s *storage) checkRecovery(path string, saved sink.Watermark, log *logrus.Logger) error {
	found := s.recovered
	fields := log.WithFields(logrus.Fields{"file": path, "size": found.Size})
	switch {
	case found.Status == sink.StatusNoWatermark && found.Size > 0 && s.positions.Empty():
		return fmt.Errorf("sink file %s has records, but there are no positions for them: "+
			"raytap would write duplicate lines. Restore the positions (shipper.positions.file), or move or delete the sink file", path)
	case found.Status == sink.StatusNoWatermark && found.Size == 0, saved.Offset == 0 && found.Status == sink.StatusMissing:
	case found.Status != sink.StatusRecovered:
		fields.WithField("reason", found.Status.String()).Warn("Sink file changed since raytap last wrote it, lines of earlier positions are not shipped again")
	case found.Records > 0:
		fields.WithField("records", found.Records).Info("Recovered records of the sink file that are newer than the saved positions")
	}
	if found.TornBytes > 0 {
		fields.WithField("bytes", found.TornBytes).Warn("Removed an incomplete last record from the sink file, its line is written again")
	}
	return nil
}

// saveInterval returns the interval at which positions are saved: the configured
// one, but not less than that of fsync, which precedes each save.
func (s *storage) saveInterval(configured config.Duration) time.Duration {
	return max(time.Duration(configured), time.Duration(s.fsync))
}

// run runs the background work of a file until ctx ends: it compresses rotated
// files, and syncs if the policy is more frequent than the saves of positions.
func (s *storage) run(ctx context.Context, saves time.Duration) error {
	if s.file == nil {
		<-ctx.Done()
		return nil
	}
	if interval := time.Duration(s.fsync); interval > 0 && interval < saves {
		syncing := start(ctx, func(ctx context.Context) error { return s.syncEvery(ctx, interval) })
		defer func() { <-syncing.ended }()
		defer syncing.cancel()
	}
	return s.file.Run(ctx)
}

func (s *storage) syncEvery(ctx context.Context, interval time.Duration) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			// The writer gets the same error, and ends the daemon.
			_ = s.file.Sync(ctx)
		}
	}
}

// close releases the remaining locks. The output closes the sink.
func (s *storage) close() {
	if s.claim != nil {
		_ = s.claim.Close() // if no file has it
	}
	if s.positions != nil {
		_ = s.positions.Close()
	}
}
