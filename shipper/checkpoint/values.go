package checkpoint

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cespare/xxhash/v2"
)

// This file encodes and decodes the keys and values of the positions file.

// The buckets of the positions file. Keys are hashes, so that each has 16 bytes however
// long a job's id is. Values are JSON with a checksum. What changes with each line of a job
// (logs) is separate from what is known of its run (runs).
const (
	bucketMeta     = "meta"
	bucketClusters = "clusters"
	bucketSkipped  = "backfill_skipped"
	bucketSlots    = "stream_slots"
	bucketRuns     = "runs"
	bucketLogs     = "logs"
)

// The keys of the meta bucket.
const (
	keyVersion = "version"
	keySink    = "sink"
	keyProcess = "process" // id of the process that has, or had, the file locked
	keySum     = "sum"     // XOR of all other values' checksums: 8 bytes, without a checksum
)

// The values of all buckets but meta and logs include the names from which their keys are
// hashed.
type (
	clusterValue struct {
		ID      string    `json:"cluster"`
		Name    string    `json:"ray_cluster,omitempty"`
		Session string    `json:"session"`
		Seen    bool      `json:"seen"`
		Removed time.Time `json:"removed_at,omitzero"`
	}
	skippedValue struct {
		Cluster string    `json:"cluster"`
		ID      string    `json:"submission_id"`
		Start   time.Time `json:"start_time"`
	}
	slotsValue struct {
		Session string         `json:"session"`
		Held    map[string]int `json:"held"`
	}
	runValue struct {
		Cluster string `json:"cluster"`
		Session string `json:"session"`
		ID      string `json:"submission_id"`
		runJSON
	}
)

// encoder collects keys and values to write, and the first error.
type encoder struct {
	out []keyValue
	err error
}

func (e *encoder) put(bucket string, key []byte, v any) {
	value, err := json.Marshal(v)
	e.err = cmp.Or(e.err, err)
	e.out = append(e.out, keyValue{bucket, key, seal(bucket, key, value)})
}

func (e *encoder) delete(bucket string, key []byte) {
	e.out = append(e.out, keyValue{bucket: bucket, key: key})
}

// process adds the id of this process and the version of the format.
func (e *encoder) process() {
	e.put(bucketMeta, []byte(keyVersion), formatVersion)
	e.put(bucketMeta, []byte(keyProcess), os.Getpid())
}

// keyOf returns the key of the value with these names.
func keyOf(names ...string) []byte {
	var all []byte
	for _, name := range names {
		all = binary.AppendUvarint(all, uint64(len(name)))
		all = append(all, name...)
	}
	sum := sha256.Sum256(all)
	return sum[:16]
}

// seal appends a checksum to a value: bbolt has checksums of its meta pages only.
func seal(bucket string, key, value []byte) []byte {
	return binary.BigEndian.AppendUint64(value, checksum(bucket, key, value))
}

// sealOf returns the checksum of a sealed value; 0 of nil.
func sealOf(sealed []byte) uint64 {
	if at := len(sealed) - 8; at >= 0 {
		return binary.BigEndian.Uint64(sealed[at:])
	}
	return 0
}

// unseal checks a sealed value and returns it without its checksum.
func unseal(bucket string, key, sealed []byte) ([]byte, error) {
	at := len(sealed) - 8
	if at < 0 || sealOf(sealed) != checksum(bucket, key, sealed[:at]) {
		return nil, corrupt("a value in bucket %s has a wrong checksum", bucket)
	}
	return sealed[:at], nil
}

func checksum(bucket string, key, value []byte) uint64 {
	h := xxhash.New()
	for _, b := range [][]byte{[]byte(bucket), key, value} {
		h.Write(b) //nolint:errcheck // xxhash never fails
	}
	return h.Sum64()
}

// encode returns the keys and values of what has changed; of everything if changed is nil.
// The caller holds s.mu.
func (s *Store) encode(changed *changes) ([]keyValue, error) {
	var e encoder
	if changed == nil {
		c := newChanges()
		changed = &c
		changed.files.addAll(s.files)
		for k := range s.logs {
			changed.logs[k] = true
		}
		for name := range s.clusters {
			changed.clusters[name] = true
		}
		for session := range s.slots {
			changed.slots[session] = true
		}
		e.process()
		changed.watermark, changed.all = s.watermark.Path != "", true
	}
	if changed.watermark {
		e.put(bucketMeta, []byte(keySink), s.watermark)
	}
	for name := range changed.clusters {
		s.encodeCluster(&e, name, changed.all)
	}
	for session := range changed.slots {
		if held := s.slots[session]; held != nil {
			e.put(bucketSlots, keyOf(session), slotsValue{session, held})
		} else {
			e.delete(bucketSlots, keyOf(session))
		}
	}
	for k := range changed.logs {
		s.encodeLog(&e, k)
	}
	s.encodeFiles(&e, changed.files)
	return e.out, e.err
}

// encodeCluster encodes what has changed of a cluster since the last save; everything if all
// is true.
func (s *Store) encodeCluster(e *encoder, name string, all bool) {
	c := s.clusters[name]
	var skipped map[string]time.Time
	if c != nil {
		e.put(bucketClusters, keyOf(name), clusterValue{name, c.name, c.Session, c.Seen, c.removed})
		skipped = c.BackfillSkipped
	} else {
		e.delete(bucketClusters, keyOf(name))
	}
	saved := s.saved.backfill[name]
	if all {
		saved = nil
	}
	for id, start := range skipped {
		if at, ok := saved[id]; !ok || !at.Equal(start) {
			e.put(bucketSkipped, keyOf(name, id), skippedValue{name, id, start})
		}
	}
	for id := range saved {
		if _, ok := skipped[id]; !ok {
			e.delete(bucketSkipped, keyOf(name, id))
		}
	}
}

func (s *Store) encodeLog(e *encoder, k Key) {
	key := keyOf(k.Cluster, k.Session, k.SubmissionID)
	entry := s.logs[k]
	if entry == nil {
		e.delete(bucketRuns, key)
		e.delete(bucketLogs, key)
		return
	}
	l, err := entry.toJSON(k)
	e.err = cmp.Or(e.err, err)
	run := runValue{k.Cluster, k.Session, k.SubmissionID, l.Run}
	l.Session, l.ID, l.Run = "", "", runJSON{}
	e.put(bucketRuns, key, run)
	e.put(bucketLogs, key, l)
}

const startOver = "move it away to start from nothing (logs of running jobs are then shipped again from their first line)"

// loader collects the content of a positions file, so that load can check its version
// before the rest.
type loader struct {
	values map[string]map[string][]byte // bucket -> key -> value
	// sum is the XOR of the checksums of the values seen, want the one that the file has.
	sum, want uint64
}

// visit adds a value. It is the callback of readDatabase; value must not change afterwards.
func (l *loader) visit(bucket string, key, value []byte) error {
	if bucket == bucketMeta && string(key) == keySum {
		l.want = sealOf(value)
		return nil
	}
	l.sum ^= sealOf(value)
	value, err := unseal(bucket, key, value)
	if err != nil {
		return err
	}
	if l.values[bucket] == nil {
		if l.values == nil {
			l.values = map[string]map[string][]byte{}
		}
		l.values[bucket] = map[string][]byte{}
	}
	l.values[bucket][string(key)] = value
	return nil
}

// decodeEach decodes the values of a bucket and calls do for each.
func decodeEach[T any](l *loader, bucket string, do func(key string, v T) error) error {
	for key, value := range l.values[bucket] {
		var v T
		err := json.Unmarshal(value, &v)
		if err == nil {
			err = do(key, v)
		}
		if err != nil {
			return corrupt("bucket %s: %v: %s", bucket, err, bytes.TrimSpace(value[:min(len(value), 200)]))
		}
	}
	return nil
}

// load sets the positions to the content of a file.
func (s *Store) load(l *loader) error {
	if l.sum != l.want {
		return corrupt("some of it is missing")
	}
	if len(l.values) == 0 {
		return nil // a new file
	}
	version := 0
	if err := json.Unmarshal(l.values[bucketMeta][keyVersion], &version); err != nil {
		return corrupt("it has no version: %v", err)
	}
	if version > formatVersion {
		return fmt.Errorf("it has version %d, and this raytap reads versions up to %d: use the newer raytap that wrote it, or %s", version, formatVersion, startOver)
	}
	if watermark := l.values[bucketMeta][keySink]; watermark != nil {
		if err := json.Unmarshal(watermark, &s.watermark); err != nil {
			return corrupt("the sink's watermark: %v", err)
		}
	}
	runs := map[string]runValue{}
	return errors.Join(
		s.loadFiles(l),
		decodeEach(l, bucketClusters, func(_ string, c clusterValue) error {
			s.clusters[c.ID] = &ClusterState{Session: c.Session, Seen: c.Seen, name: c.Name, removed: c.Removed}
			return nil
		}),
		decodeEach(l, bucketSkipped, func(_ string, v skippedValue) error {
			c := s.clusters[v.Cluster]
			if c == nil {
				return fmt.Errorf("there is no cluster %q", v.Cluster)
			}
			if c.BackfillSkipped == nil {
				c.BackfillSkipped = map[string]time.Time{}
				s.saved.backfill[v.Cluster] = c.BackfillSkipped
			}
			c.BackfillSkipped[v.ID] = v.Start
			return nil
		}),
		decodeEach(l, bucketSlots, func(_ string, v slotsValue) error {
			s.slots[v.Session] = v.Held
			return nil
		}),
		decodeEach(l, bucketRuns, func(key string, v runValue) error {
			runs[key] = v
			return nil
		}),
		decodeEach(l, bucketLogs, func(key string, v logJSON) error {
			run, ok := runs[key]
			if !ok {
				return errors.New("the run of a log is missing")
			}
			v.ID, v.Run = run.ID, run.runJSON
			e, err := v.entry()
			if err == nil {
				e.key = Key{run.Cluster, run.Session, run.ID}
				s.logs[e.key] = e
			}
			return err
		}),
	)
}

// Read returns the content of a positions file, also while a raytap writes it. It neither
// changes nor locks the file.
func Read(file string) (*Saved, error) {
	var l loader
	s := newStore()
	err := readUnlocked(file, l.visit)
	if err == nil {
		err = s.load(&l)
	}
	if err != nil {
		return nil, fmt.Errorf("read positions %s: %w", file, withHint(err))
	}
	return s.Content()
}

// withHint adds to an error about a file's content what an operator can do.
func withHint(err error) error {
	switch {
	case errors.Is(err, errCorrupt):
		return fmt.Errorf("%w: restore it from a copy, or %s", err, startOver)
	case errors.Is(err, errNoDatabase):
		return fmt.Errorf("%w: set shipper.positions.file to another path, or %s", err, startOver)
	}
	return err
}
