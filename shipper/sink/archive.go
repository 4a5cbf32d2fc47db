package sink

import (
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// uncompressedFiles is how many of the newest rotated files are never compressed,
// because a log shipper may still read them.
const uncompressedFiles = 2

const (
	gzipSuffix = ".gz"
	tempSuffix = ".gz.tmp"
)

// archived is one rotated file.
type archived struct {
	number       uint64
	uncompressed bool // exists uncompressed
	compressed   bool // exists compressed
}

// archiveName returns the path of a rotated file. Its number has at least six digits.
func archiveName(path string, number uint64) string {
	return fmt.Sprintf("%s.%06d", path, number)
}

// listArchive returns the rotated files of path, oldest first.
func listArchive(fs fileSystem, path string) ([]archived, error) {
	names, err := fs.readDirNames(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	var all []archived
	for _, name := range names {
		rest, ok := strings.CutPrefix(name, filepath.Base(path)+".")
		rest, zipped := strings.CutSuffix(rest, gzipSuffix)
		number, err := strconv.ParseUint(rest, 10, 64)
		if !ok || err != nil || rest != fmt.Sprintf("%06d", number) {
			continue
		}
		i := slices.IndexFunc(all, func(a archived) bool { return a.number == number })
		if i < 0 {
			i = len(all)
			all = append(all, archived{number: number})
		}
		all[i].compressed = all[i].compressed || zipped
		all[i].uncompressed = all[i].uncompressed || !zipped
	}
	slices.SortFunc(all, func(a, b archived) int { return cmp.Compare(a.number, b.number) })
	return all, nil
}

// prune removes the oldest rotated files. Failures are logged and retried at the next
// rotation.
func (f *File) prune() {
	if f.o.MaxFiles <= 0 {
		return
	}
	all, err := listArchive(f.o.fs, f.o.Path)
	for _, a := range all[:max(0, len(all)-f.o.MaxFiles)] {
		name := archiveName(f.o.Path, a.number)
		for _, suffix := range [...]string{"", gzipSuffix, tempSuffix} {
			if rerr := f.o.fs.remove(name + suffix); !errors.Is(rerr, os.ErrNotExist) {
				err = errors.Join(err, rerr)
			}
		}
		f.stats.Removed.Add(1)
	}
	if err != nil {
		f.logHousekeepingError("Cannot remove old sink files, retrying at the next rotation", err)
	}
}

func (f *File) logHousekeepingError(message string, err error) {
	f.stats.countError(kindRotate)
	f.o.Log.WithError(err).Warn(message)
}

// Run compresses rotated files until ctx ends, and returns nil. Without Gzip it only
// waits. It never touches the current file, and Write never waits for it.
func (f *File) Run(ctx context.Context) error {
	for {
		if f.o.Gzip {
			if err := f.compressAll(ctx); err != nil && ctx.Err() == nil {
				f.logHousekeepingError("Cannot compress rotated sink files, retrying at the next rotation", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-f.rotated:
		}
	}
}

// compressAll compresses all rotated files except the newest, oldest first.
func (f *File) compressAll(ctx context.Context) error {
	all, err := listArchive(f.o.fs, f.o.Path)
	if err != nil {
		return err
	}
	for _, a := range all[:max(0, len(all)-uncompressedFiles)] {
		if !a.uncompressed {
			continue
		}
		name := archiveName(f.o.Path, a.number)
		if !a.compressed {
			if err := f.compress(ctx, name); err != nil {
				if errors.Is(err, os.ErrNotExist) {
					continue // pruned meanwhile
				}
				return err
			}
		}
		// The compressed file is complete and on disk, or it would not have its name.
		err := f.o.fs.remove(name)
		if errors.Is(err, os.ErrNotExist) { // pruned meanwhile, so remove its compressed form
			err = f.o.fs.remove(name + gzipSuffix)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// compress writes name.gz.
func (f *File) compress(ctx context.Context, name string) error {
	in, err := f.o.fs.open(name, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	size, err := in.size()
	if err != nil {
		return err
	}
	temp := name + tempSuffix
	out, err := f.o.fs.open(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, f.o.Mode)
	if err != nil {
		return err
	}
	z := gzip.NewWriter(out)
	_, err = io.Copy(z, &ctxReader{ctx, io.NewSectionReader(in, 0, size)})
	err = errors.Join(err, z.Close())
	if err == nil {
		err = out.Sync()
	}
	err = errors.Join(err, out.Close())
	if err == nil {
		err = f.o.fs.rename(temp, name+gzipSuffix)
	}
	if err != nil {
		return errors.Join(err, f.o.fs.remove(temp))
	}
	return f.o.fs.syncDir(filepath.Dir(name))
}

// ctxReader is a reader that returns the error of its context once that ends.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (u *ctxReader) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(p)
}
