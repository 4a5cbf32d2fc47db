package checkpoint

// renameFiles moves the log files of sessions to another cluster. The caller holds s.mu.
func (s *Store) renameFiles(id string, which func(*Files) bool) {
	pending := &s.pending.files
	for _, f := range s.files {
		if !which(f) {
			continue
		}
		all := newFileChanges()
		all.addAll([]*Files{f})
		was := &Files{store: s, cluster: f.cluster, session: f.session} // the next save removes its keys
		s.sessionChanged(was)
		directories := map[string]*FileDirectory{}
		directory := func(id string) *FileDirectory {
			if directories[id] == nil {
				directories[id] = &FileDirectory{files: was, id: id}
			}
			return directories[id]
		}
		for _, c := range []fileChanges{all, *pending} {
			for e := range c.entries {
				if e.files == f {
					s.fileChanged(&FileEntry{files: was, hash: e.hash})
				}
			}
			for d := range c.directories {
				if d.files == f {
					s.directoryChanged(directory(d.id))
				}
			}
			for k := range c.done {
				if k.directory.files == f {
					s.doneChanged(doneKey{directory(k.directory.id), k.hash})
				}
			}
		}
		f.cluster = id
		if s.db != nil {
			pending.add(all)
		}
	}
}
