package shipper

import (
	"encoding/json"
	"testing"

	"raytap/shipper/checkpoint"
)

// storeHolds fails the test unless the file has the same content as the store.
func storeHolds(t *testing.T, file string, p *checkpoint.Store) {
	t.Helper()
	if got, want := storeFile(t, file), storeContent(t, p); got != want {
		t.Errorf("the file has %.2000s\nwant         %.2000s", got, want)
	}
}

func storeFile(t *testing.T, file string) string {
	t.Helper()
	s, err := checkpoint.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	return storeJSON(t, s)
}

func storeContent(t *testing.T, p *checkpoint.Store) string {
	t.Helper()
	state, err := p.Content()
	if err != nil {
		t.Fatal(err)
	}
	return storeJSON(t, state)
}

func storeJSON(t *testing.T, s *checkpoint.Saved) string {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
