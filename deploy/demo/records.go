//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// shipped counts the lines that raytap has written. Safe for concurrent use.
type shipped struct {
	mu                         sync.Mutex
	drivers, workers, replicas int
}

// add counts a record, unless it is an event.
func (s *shipped) add(line []byte) {
	var r struct{ Source, Event, Deployment string }
	if json.Unmarshal(line, &r) != nil || r.Event != "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case r.Source == "driver":
		s.drivers++
	case r.Deployment != "":
		s.replicas++
	default:
		s.workers++
	}
}

// String returns the counts for people.
func (s *shipped) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("%d lines of driver logs, %d of tasks, actors and other workers, %d of Serve replicas", s.drivers, s.workers, s.replicas)
}

// visit requests the Serve application every few seconds, until ctx ends.
func visit(ctx context.Context, url string) {
	tick := time.NewTicker(3 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return
		}
		if res, err := http.DefaultClient.Do(req); err == nil { // it may not be deployed yet
			_ = res.Body.Close()
		}
	}
}

// lineWriter writes whole lines, so that nothing is written into the middle of one.
type lineWriter struct {
	w       io.Writer
	shipped *shipped
	rest    []byte
}

func (l *lineWriter) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	end := bytes.LastIndexByte(l.rest, '\n') + 1
	if end == 0 {
		return len(p), nil
	}
	_, err := l.w.Write(l.rest[:end])
	for line := range bytes.Lines(l.rest[:end]) {
		l.shipped.add(line)
	}
	l.rest = append(l.rest[:0], l.rest[end:]...)
	return len(p), err
}

// lockedWriter serialises the writes of several goroutines.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
