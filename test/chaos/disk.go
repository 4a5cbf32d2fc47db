package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// disk holds the sink and the positions. For root it is a small tmpfs, which a
// ballast file fills. Otherwise raytap gets a file size limit, which makes its writes
// fail in the same way.
type disk struct {
	s       *subject
	dir     string
	ballast string // empty: a file size limit is used
	filled  int    // how often raytap met a full disk
}

func newDisk(s *subject, dir string) (*disk, error) {
	d := &disk{s: s, dir: dir}
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64m")
	switch {
	case err == nil:
		d.ballast = filepath.Join(dir, "ballast")
	case !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES):
		return nil, err
	}
	return d, nil
}

// close unmounts the disk. Its content is copied to DIR.kept for inspection.
func (d *disk) close() {
	if d.ballast == "" {
		return
	}
	_ = os.Remove(d.ballast)
	_ = os.CopyFS(d.dir+".kept", os.DirFS(d.dir))
	_ = unix.Unmount(d.dir, unix.MNT_DETACH)
}

// fillRepeatedly fills the disk for a while, again and again, until ctx ends. Then
// the disk has room.
func (d *disk) fillRepeatedly(ctx context.Context, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 5))
	for ctx.Err() == nil {
		wait(ctx, time.Duration(300+rng.IntN(700))*time.Millisecond)
		before := d.s.size()
		d.fill(int64(rng.IntN(20000)))
		wait(ctx, time.Duration(300+rng.IntN(900))*time.Millisecond)
		if d.isFull() && d.s.size() >= before {
			d.filled++
		}
		d.free()
	}
}

// fill fills the disk except for room bytes.
func (d *disk) fill(room int64) {
	if d.ballast == "" {
		d.limit(uint64(max(d.s.size(), 0) + room))
		return
	}
	var fs unix.Statfs_t
	if unix.Statfs(d.dir, &fs) != nil {
		return
	}
	f, err := os.OpenFile(d.ballast, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	_ = unix.Fallocate(int(f.Fd()), 0, 0, max(1, int64(fs.Bavail)*fs.Bsize-room))
}

func (d *disk) isFull() bool {
	if d.ballast == "" {
		return true
	}
	var fs unix.Statfs_t
	return unix.Statfs(d.dir, &fs) == nil && fs.Bavail == 0
}

func (d *disk) free() {
	if d.ballast == "" {
		d.limit(unix.RLIM_INFINITY)
		return
	}
	_ = os.Remove(d.ballast)
}

// limit sets raytap's file size limit, if it is running.
func (d *disk) limit(n uint64) {
	l := unix.Rlimit{Cur: n, Max: unix.RLIM_INFINITY}
	_ = unix.Prlimit(int(d.s.pid.Load()), unix.RLIMIT_FSIZE, &l, nil)
}
