package tail

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"raytap/ray"
)

// sessions is an API that reports one session after the other; the last one again.
type sessions struct {
	noAPI
	names []string
}

func (s *sessions) Version(context.Context) (ray.Version, error) {
	name := s.names[0]
	s.names = s.names[min(1, len(s.names)-1):]
	return ray.Version{Session: name}, nil
}

func TestCluster_CurrentSession(t *testing.T) {
	for name, tt := range map[string]struct {
		reported []string
		known    string
		want     string
		err      error
	}{
		"first":            {[]string{"a"}, "", "a", nil},
		"known":            {[]string{"a", "b"}, "a", "a", nil},
		"new":              {[]string{"b"}, "a", "b", nil},
		"two heads":        {[]string{"b", "a"}, "a", "", errTwoSessions},
		"not reported yet": {[]string{""}, "", "", errNoSession},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cl := testCluster(t, Options{})
				cl.api = &sessions{names: tt.reported}
				if got, err := cl.CurrentSession(t.Context(), tt.known); got != tt.want || !errors.Is(err, tt.err) {
					t.Errorf("session %q, error %v, want %q and %v", got, err, tt.want, tt.err)
				}
			})
		})
	}
}
