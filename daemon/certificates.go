package daemon

import (
	"crypto/sha256"
	"io"
	"os"

	"raytap/config"
)

// digest is a SHA-256 hash.
type digest [sha256.Size]byte

// maxCertificate bounds how much of a TLS file is compared, in bytes.
const maxCertificate = 8 << 20

// certificates caches the digests of TLS files: a cluster whose files changed is
// replaced at the next reload, and not before.
type certificates map[config.TLS]digest

// of returns the digest of the files of t. A file that cannot be read counts as
// empty; building the client reports the error.
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
