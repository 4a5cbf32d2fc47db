package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// lineSize is the length of each line of the corpus in bytes, including its newline.
const lineSize = 200

// frameLines is how many lines Ray sends in one WebSocket frame (2.9.3 to 2.60.0).
const frameLines = 10

// makeCorpus writes a log of the given number of lines, unless it exists. It returns
// the path. Each line is like the output of a training loop: a time, a level, numbers, a
// path, and quotes that JSON has to escape.
func makeCorpus(dir string, lines int) (string, error) {
	path := filepath.Join(dir, "corpus-"+strconv.Itoa(lines)+".log")
	if info, err := os.Stat(path); err == nil && info.Size() == int64(lines)*lineSize {
		return path, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	var line []byte
	for i := range lines {
		line = appendCorpusLine(line[:0], i)
		if _, err := w.Write(line); err != nil {
			return "", err
		}
	}
	if err := w.Flush(); err != nil {
		return "", err
	}
	return path, f.Close()
}

func appendCorpusLine(b []byte, i int) []byte {
	b = fmt.Appendf(b, `2026-11-24 12:%02d:%02d,%03d INFO trainer.py:%d -- epoch %d step %d: loss=%.6f lr=%.2e "tokens/s"=%d checkpoint=/mnt/data/run-7/ckpt-%06d`,
		i/60000%60, i/1000%60, i%1000, 100+i%97, i/10000, i, 4/(1+float64(i%5000)/1000), 3e-4, 18000+i%777, i/500)
	for word := i; len(b) < lineSize-1; word++ {
		b = append(b, " shard="...)
		b = strconv.AppendInt(b, int64(word%4096), 10)
	}
	return append(b[:lineSize-1], '\n')
}

// mapFile maps a file into memory for reading, until the process exits.
func mapFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED|unix.MAP_POPULATE)
}
