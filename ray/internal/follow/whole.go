package follow

import "io"

// whole is a Conn over a body that ends where the log does.
type whole struct {
	body io.ReadCloser
	buf  []byte
	err  error
}

// Whole makes a Conn of a body that is the whole log.
func Whole(body io.ReadCloser) Conn { return &whole{body: body, buf: make([]byte, 64<<10)} }

// Next implements Conn.
func (w *whole) Next() ([]byte, bool, error) {
	if w.err != nil {
		return nil, false, w.err
	}
	n, err := w.body.Read(w.buf)
	if w.err = err; n > 0 {
		return w.buf[:n], false, nil
	}
	return nil, false, err
}

// Close implements Conn.
func (w *whole) Close() error { return w.body.Close() }
