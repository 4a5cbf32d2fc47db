package follow

import "io"

// snapshot is a Conn of a body that ends with the log.
type snapshot struct {
	body io.ReadCloser
	buf  []byte
	err  error
}

// Snapshot returns a Conn of a body that is the whole log.
func Snapshot(body io.ReadCloser) Conn { return &snapshot{body: body, buf: make([]byte, 64<<10)} }

// Next implements Conn.
func (s *snapshot) Next() ([]byte, bool, error) {
	if s.err != nil {
		return nil, false, s.err
	}
	n, err := s.body.Read(s.buf)
	if s.err = err; n > 0 {
		return s.buf[:n], false, nil
	}
	return nil, false, err
}

// Close implements Conn.
func (s *snapshot) Close() error { return s.body.Close() }
