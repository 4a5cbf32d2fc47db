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

// This file: what stands in the positions file, key by key.

// The buckets of the positions file. Their keys are hashes, so that a key has 16
// bytes whatever a job is called; their values are JSON with a checksum. What
// changes with each line of a job (logs) is kept apart from what is known of its
// run (runs).
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
	keyProcess = "process" // the id of the process that has, or had, the file locked
	keySum     = "sum"     // of all other values' checksums, XORed: 8 bytes, which no checksum follows
)

// The values of the buckets but meta and logs say whose they are: the keys do not.
type (
	clusterValue struct {
		Name    string `json:"cluster"`
		Session string `json:"session"`
		Seen    bool   `json:"seen"`
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

// encoding collects keys and values to write.
type encoding struct {
	out []keyValue
	err error
}

func (e *encoding) put(bucket string, key []byte, v any) {
	value, err := json.Marshal(v)
	e.err = cmp.Or(e.err, err)
	e.out = append(e.out, keyValue{bucket, key, seal(bucket, key, value)})
}

func (e *encoding) drop(bucket string, key []byte) {
	e.out = append(e.out, keyValue{bucket: bucket, key: key})
}

// process puts who writes the file, and in which version.
func (e *encoding) process() {
	e.put(bucketMeta, []byte(keyVersion), positionsVersion)
	e.put(bucketMeta, []byte(keyProcess), os.Getpid())
}

// keyOf makes a key of what names a thing.
func keyOf(names ...string) []byte {
	var all []byte
	for _, name := range names {
		all = binary.AppendUvarint(all, uint64(len(name)))
		all = append(all, name...)
	}
	sum := sha256.Sum256(all)
	return sum[:16]
}

// seal adds a checksum to a value: bbolt has none for what it holds.
func seal(bucket string, key, value []byte) []byte {
	return binary.BigEndian.AppendUint64(value, checksum(bucket, key, value))
}

// sealOf returns the checksum of a sealed value; 0 of none.
func sealOf(sealed []byte) uint64 {
	if at := len(sealed) - 8; at >= 0 {
		return binary.BigEndian.Uint64(sealed[at:])
	}
	return 0
}

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

// encode encodes what has changed: all where changed is nil. It is called under
// the lock.
func (p *Store) encode(changed *changes) ([]keyValue, error) {
	var e encoding
	if changed == nil {
		changed = &changes{logs: map[Key]bool{}, clusters: map[string]bool{}, slots: map[string]bool{}}
		for k := range p.logs {
			changed.logs[k] = true
		}
		for name := range p.clusters {
			changed.clusters[name] = true
		}
		for session := range p.slots {
			changed.slots[session] = true
		}
		e.process()
		changed.mark, changed.whole = p.mark.Path != "", true
	}
	if changed.mark {
		e.put(bucketMeta, []byte(keySink), p.mark)
	}
	for name := range changed.clusters {
		p.encodeCluster(&e, name, changed.whole)
	}
	for session := range changed.slots {
		if held := p.slots[session]; held != nil {
			e.put(bucketSlots, keyOf(session), slotsValue{session, held})
		} else {
			e.drop(bucketSlots, keyOf(session))
		}
	}
	for k := range changed.logs {
		p.encodeLog(&e, k)
	}
	return e.out, e.err
}

// encodeCluster encodes what differs from what is saved of a cluster.
func (p *Store) encodeCluster(e *encoding, name string, whole bool) {
	c := p.clusters[name]
	var left map[string]time.Time
	if c != nil {
		e.put(bucketClusters, keyOf(name), clusterValue{name, c.Session, c.Seen})
		left = c.BackfillSkipped
	} else {
		e.drop(bucketClusters, keyOf(name))
	}
	saved := p.savedBackfill[name]
	if whole {
		saved = nil
	}
	for id, start := range left {
		if at, ok := saved[id]; !ok || !at.Equal(start) {
			e.put(bucketSkipped, keyOf(name, id), skippedValue{name, id, start})
		}
	}
	for id := range saved {
		if _, ok := left[id]; !ok {
			e.drop(bucketSkipped, keyOf(name, id))
		}
	}
}

func (p *Store) encodeLog(e *encoding, k Key) {
	key := keyOf(k.Cluster, k.Session, k.SubmissionID)
	entry := p.logs[k]
	if entry == nil {
		e.drop(bucketRuns, key)
		e.drop(bucketLogs, key)
		return
	}
	l, err := entry.toJSON(k)
	e.err = cmp.Or(e.err, err)
	run := runValue{k.Cluster, k.Session, k.SubmissionID, l.Run}
	l.Session, l.ID, l.Run = "", "", runJSON{}
	e.put(bucketRuns, key, run)
	e.put(bucketLogs, key, l)
}

const startAnew = "move it away to start anew (jobs that still run are then shipped again from their first line)"

// loading collects what a positions file holds: its version is looked at before
// the rest.
type loading struct {
	values map[string]map[string][]byte // bucket -> key -> value
	// sum is that of the values seen, want the one that the file tells.
	sum, want uint64
}

// visit takes a key over. It has the form of readDatabase's callback; value must
// not change.
func (l *loading) visit(bucket string, key, value []byte) error {
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

// each decodes the values of a bucket.
func each[T any](l *loading, bucket string, do func(key string, v T) error) error {
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

// load takes over what a file holds.
func (p *Store) load(l *loading) error {
	if l.sum != l.want {
		return corrupt("some of it is missing")
	}
	if len(l.values) == 0 {
		return nil // none yet
	}
	version := 0
	if err := json.Unmarshal(l.values[bucketMeta][keyVersion], &version); err != nil {
		return corrupt("it has no version: %v", err)
	}
	if version > positionsVersion {
		return fmt.Errorf("it is of version %d, and this raytap reads up to %d: use the newer raytap that wrote it, or %s", version, positionsVersion, startAnew)
	}
	if mark := l.values[bucketMeta][keySink]; mark != nil {
		if err := json.Unmarshal(mark, &p.mark); err != nil {
			return corrupt("the sink's watermark: %v", err)
		}
	}
	runs := map[string]runValue{}
	return errors.Join(
		each(l, bucketClusters, func(_ string, c clusterValue) error {
			p.clusters[c.Name] = &ClusterState{Session: c.Session, Seen: c.Seen}
			return nil
		}),
		each(l, bucketSkipped, func(_ string, v skippedValue) error {
			c := p.clusters[v.Cluster]
			if c == nil {
				return fmt.Errorf("there is no cluster %q", v.Cluster)
			}
			if c.BackfillSkipped == nil {
				c.BackfillSkipped = map[string]time.Time{}
				p.savedBackfill[v.Cluster] = c.BackfillSkipped
			}
			c.BackfillSkipped[v.ID] = v.Start
			return nil
		}),
		each(l, bucketSlots, func(_ string, v slotsValue) error {
			p.slots[v.Session] = v.Held
			return nil
		}),
		each(l, bucketRuns, func(key string, v runValue) error {
			runs[key] = v
			return nil
		}),
		each(l, bucketLogs, func(key string, v logJSON) error {
			run, ok := runs[key]
			if !ok {
				return errors.New("a log without its run")
			}
			v.ID, v.Run = run.ID, run.runJSON
			e, err := v.entry()
			if err == nil {
				e.key = Key{run.Cluster, run.Session, run.ID}
				p.logs[e.key] = e
			}
			return err
		}),
	)
}

// ReadPositions reads a positions file, also while a raytap writes it. It
// changes nothing and locks nothing.
func Read(file string) (*Saved, error) {
	var l loading
	p := newPositions()
	err := snapshotOf(file, l.visit)
	if err == nil {
		err = p.load(&l)
	}
	if err != nil {
		return nil, fmt.Errorf("read positions %s: %w", file, explained(err))
	}
	return p.toJSON()
}

// explained adds to an error about a file's content what can be done.
func explained(err error) error {
	switch {
	case errors.Is(err, errCorrupt):
		return fmt.Errorf("%w: restore it from a copy, or %s", err, startAnew)
	case errors.Is(err, errNoDatabase):
		return fmt.Errorf("%w, but something else: set shipper.positions.file to another file, or %s", err, startAnew)
	}
	return err
}
