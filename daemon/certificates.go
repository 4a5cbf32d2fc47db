package daemon

import (
	"crypto/sha256"
	"io"
	"os"

	"raytap/config"
)

// digest is a SHA-256.
type digest [sha256.Size]byte

// maxCertificate bounds what of a TLS file is compared, in bytes.
const maxCertificate = 8 << 20

// certificates remembers what TLS files hold, each set of them read once: a
// cluster whose files changed is another one at the next reload, and not before.
type certificates map[config.TLS]digest

// of gives the digest of the files that t names. What cannot be read counts as
// empty; building a client tells what is wrong with it.
func (c certificates) of(t config.TLS) digest {
	if d, ok := c[t]; ok {
		return d
	}
	h := sha256.New()
	for _, name := range []config.Path{t.CAFile, t.CertFile, t.KeyFile} {
		f, err := os.Open(string(name))
		if err == nil {
			_, _ = io.Copy(h, io.LimitReader(f, maxCertificate))
			_ = f.Close()
		}
		_, _ = h.Write([]byte{0}) // never fails
	}
	d := digest(h.Sum(nil))
	c[t] = d
	return d
}
