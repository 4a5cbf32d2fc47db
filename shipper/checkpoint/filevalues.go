package checkpoint

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"maps"

	"raytap/shipper/rotation"
)

// This file encodes and decodes what the positions file holds of log files. There can be
// many: their values are binary, and a save writes only those that have changed.

// The buckets. The key of a file has 8 bytes that name its session or directory, and the 8
// bytes of its hash.
const (
	bucketFileSessions = "file_sessions"
	bucketDirectories  = "directories"
	bucketFiles        = "files"
	bucketFilesDone    = "files_done"
)

type (
	fileSessionValue struct {
		Cluster string   `json:"cluster"`
		Session string   `json:"session"`
		Begun   bool     `json:"begun,omitempty"`
		First   []string `json:"first_nodes,omitempty"`
	}
	directoryValue struct {
		Cluster string   `json:"cluster"`
		Session string   `json:"session"`
		ID      string   `json:"directory"`
		Nodes   []string `json:"nodes,omitempty"`
		Decided bool     `json:"backfill_decided,omitempty"`
	}
)

// fileChanges names what a save has to write of log files.
type fileChanges struct {
	sessions    map[*Files]bool
	directories map[*FileDirectory]bool
	entries     map[*FileEntry]bool
	done        map[doneKey]bool
}

func newFileChanges() fileChanges {
	return fileChanges{map[*Files]bool{}, map[*FileDirectory]bool{}, map[*FileEntry]bool{}, map[doneKey]bool{}}
}

// add adds changes that were not written.
func (c *fileChanges) add(d fileChanges) {
	maps.Copy(c.sessions, d.sessions)
	maps.Copy(c.directories, d.directories)
	maps.Copy(c.entries, d.entries)
	maps.Copy(c.done, d.done)
}

// addAll adds everything of a store.
func (c *fileChanges) addAll(files []*Files) {
	for _, f := range files {
		c.sessions[f] = true
		for _, e := range f.entries {
			c.entries[e] = true
		}
		for _, d := range f.directories {
			c.directories[d] = true
			for hash := range d.done {
				c.done[doneKey{d, hash}] = true
			}
		}
	}
}

func (f *Files) key() []byte             { return keyOf(f.cluster, f.session) }
func (d *FileDirectory) key() []byte     { return keyOf(d.files.cluster, d.files.session, d.id) }
func hashKey(of []byte, h uint64) []byte { return binary.BigEndian.AppendUint64(of[:8:8], h) }

// encodeFiles encodes what has changed of log files. The caller holds s.mu.
func (s *Store) encodeFiles(e *encoder, c fileChanges) {
	current := map[string]*Files{} // a session can be dropped, and begin again
	for _, f := range s.files {
		current[string(f.key())] = f
	}
	of := func(f *Files) (*Files, []byte) {
		key := f.key()
		return current[string(key)], key
	}
	for f := range c.sessions {
		if now, key := of(f); now != nil {
			e.put(bucketFileSessions, key, fileSessionValue{now.cluster, now.session, now.begun, now.first})
		} else {
			e.delete(bucketFileSessions, key)
		}
	}
	for d := range c.directories {
		now, _ := of(d.files)
		if now != nil && now.directories[d.id] != nil {
			d = now.directories[d.id]
			e.put(bucketDirectories, d.key(), directoryValue{now.cluster, now.session, d.id, d.nodes, d.decided})
		} else {
			e.delete(bucketDirectories, d.key())
		}
	}
	for entry := range c.entries {
		now, session := of(entry.files)
		key := hashKey(session, entry.hash)
		if now != nil {
			entry = now.entries[entry.hash]
		}
		if now == nil || entry == nil || entry.state == nil && entry.recovered == nil {
			e.delete(bucketFiles, key)
			continue
		}
		e.out = append(e.out, keyValue{bucketFiles, key, seal(bucketFiles, key, entry.appendBinary(nil))})
	}
	for k := range c.done {
		now, _ := of(k.directory.files)
		key := hashKey(k.directory.key(), k.hash)
		if now != nil && now.directories[k.directory.id] != nil {
			if _, ok := now.directories[k.directory.id].done[k.hash]; ok {
				e.out = append(e.out, keyValue{bucketFilesDone, key, seal(bucketFilesDone, key, []byte{})})
				continue
			}
		}
		e.delete(bucketFilesDone, key)
	}
}

// loadFiles sets the log files to the content of a file.
func (s *Store) loadFiles(l *loader) error {
	sessions := map[string]*Files{}
	err := decodeEach(l, bucketFileSessions, func(key string, v fileSessionValue) error {
		f := s.sessionFiles(v.Cluster, v.Session)
		f.begun, f.first = v.Begun, v.First
		sessions[key[:min(8, len(key))]] = f
		return nil
	})
	directories := map[string]*FileDirectory{}
	err = errors.Join(err, decodeEach(l, bucketDirectories, func(key string, v directoryValue) error {
		d := s.sessionFiles(v.Cluster, v.Session).directory(v.ID)
		d.nodes, d.decided = v.Nodes, v.Decided
		directories[key[:min(8, len(key))]] = d
		return nil
	}))
	for key, value := range l.values[bucketFiles] {
		f, hash, ok := splitKey(sessions, key)
		if !ok {
			return errors.Join(err, corrupt("bucket %s: a log file without its session", bucketFiles))
		}
		e := &FileEntry{files: f, hash: hash}
		if derr := e.decode(value); derr != nil {
			return errors.Join(err, corrupt("bucket %s: %v", bucketFiles, derr))
		}
		f.entries[hash] = e
	}
	for key := range l.values[bucketFilesDone] {
		d, hash, ok := splitKey(directories, key)
		if !ok {
			return errors.Join(err, corrupt("bucket %s: a finished file without its directory", bucketFilesDone))
		}
		d.done[hash] = struct{}{}
	}
	return err
}

// splitKey returns what a key of a file names.
func splitKey[T any](of map[string]T, key string) (owner T, hash uint64, ok bool) {
	if len(key) != 16 {
		return owner, 0, false
	}
	owner, ok = of[key[:8]]
	return owner, binary.BigEndian.Uint64([]byte(key[8:])), ok
}

// The bits of a file's flags.
const (
	flagState = 1 << iota
	flagRecovered
	flagAfterCR
	flagEnded
	flagDecided
	flagReplica
)

// appendBinary appends the value of an entry.
func (e *FileEntry) appendBinary(b []byte) []byte {
	flags := uint64(0)
	set := func(on bool, flag uint64) {
		if on {
			flags |= flag
		}
	}
	st := e.state
	if st == nil {
		st = &FileState{}
	}
	set(e.state != nil, flagState)
	set(e.recovered != nil, flagRecovered)
	set(st.AfterCR, flagAfterCR)
	set(st.Ended, flagEnded)
	set(st.Decided, flagDecided)
	set(st.Replica != "", flagReplica)
	p := st.At
	for _, n := range []uint64{
		flags, st.Epoch, st.Lines, st.Content, st.Skipped, uint64(st.LastTime), uint64(st.Blank),
		uint64(p.After), uint64(p.Own), uint64(p.Raw), uint64(p.Head.Size), p.Head.Hash, uint64(p.Proof.Size), p.Proof.Hash,
	} {
		b = binary.AppendUvarint(b, n)
	}
	for _, text := range st.texts(flags) {
		b = binary.AppendUvarint(b, uint64(len(*text)))
		b = append(b, *text...)
	}
	if e.recovered != nil {
		j, _ := json.Marshal(e.recovered.toJSON()) // numbers and texts: no error
		b = append(b, j...)
	}
	return b
}

// texts returns the texts of a state with these flags, in the order of the format.
func (st *FileState) texts(flags uint64) []*string {
	texts := []*string{&st.Name, &st.Directory, &st.JobID, &st.SubmissionID, &st.JobName, &st.NodeID, &st.ActorName, &st.TaskName}
	if flags&flagReplica != 0 {
		texts = append(texts, &st.Replica)
	}
	return texts
}

var errShortValue = errors.New("a value is too short")

// decode sets an entry to a value.
func (e *FileEntry) decode(b []byte) error {
	st := &FileState{}
	var n [14]uint64
	for i := range n {
		v, size := binary.Uvarint(b)
		if size <= 0 {
			return errShortValue
		}
		n[i], b = v, b[size:]
	}
	flags := n[0]
	st.Epoch, st.Lines, st.Content, st.Skipped, st.LastTime, st.Blank = n[1], n[2], n[3], n[4], int64(n[5]), int(n[6])
	st.At = rotation.Position{
		After: rotation.Validator(n[7]), Own: rotation.Validator(n[8]), Raw: int64(n[9]),
		Head: rotation.Sum{Size: int(n[10]), Hash: n[11]}, Proof: rotation.Sum{Size: int(n[12]), Hash: n[13]},
	}
	st.AfterCR, st.Ended, st.Decided = flags&flagAfterCR != 0, flags&flagEnded != 0, flags&flagDecided != 0
	for _, text := range st.texts(flags) {
		v, size := binary.Uvarint(b)
		if size <= 0 || uint64(len(b)-size) < v {
			return errShortValue
		}
		*text, b = string(b[size:size+int(v)]), b[size+int(v):]
	}
	if flags&flagState != 0 {
		e.state = st
	}
	if flags&flagRecovered != 0 {
		var j recoveredJSON
		if err := json.Unmarshal(b, &j); err != nil {
			return err
		}
		e.recovered = j.recovered()
	}
	return nil
}
