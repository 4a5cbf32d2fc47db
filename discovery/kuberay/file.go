package kuberay

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// File is a Memory in a file, which is replaced as a whole. Only one process may use it.
type File string

// fileContent is the content of a File, as JSON.
type fileContent struct {
	Old map[string][]string `json:"rayclusters_of_the_first_list"`
}

// Load implements Memory. A file that does not exist has nothing saved.
func (f File) Load() (map[string][]string, error) {
	b, err := os.ReadFile(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var c fileContent
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, fmt.Errorf("%s is not a file of raytap: %w", string(f), err)
	}
	return c.Old, nil
}

// Save implements Memory. After a crash the file is the old or the new one.
func (f File) Save(old map[string][]string) (err error) {
	b, err := json.Marshal(fileContent{old})
	if err != nil {
		return err
	}
	dir := filepath.Dir(string(f))
	tmp, err := os.CreateTemp(dir, filepath.Base(string(f))+".*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name())
		}
	}()
	_, err = tmp.Write(b)
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), string(f)); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
