package transport

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// Environment variables and the file in which Ray itself looks for a token,
// first one wins (Ray 2.60.0).
const (
	envToken     = "RAY_AUTH_TOKEN"
	envTokenPath = "RAY_AUTH_TOKEN_PATH"
	homeToken    = ".ray/auth_token"
)

// maxTokenFile bounds what is read of a token file, in bytes.
const maxTokenFile = 64 << 10

// TokenSource gives the token of the next request, "" for none. An error fails
// the request: it is never sent without the token it should have had. It is
// called for each request, from several goroutines at once.
type TokenSource interface {
	Token() (string, error)
}

type staticToken struct{ secret Secret }

// StaticToken gives the same token for ever; surrounding white space is cut.
func StaticToken(token string) TokenSource {
	return staticToken{NewSecret(strings.TrimSpace(token))}
}

func (t staticToken) Token() (string, error) { return t.secret.Reveal(), nil }

// FileToken reads the token from a file, again whenever the file's time, size
// or identity changed (a mounted Kubernetes secret is replaced by a symlink).
// Surrounding white space is cut. A missing, unreadable or empty file is an
// error that names the path.
func FileToken(path string) TokenSource { return &fileToken{path: path} }

type fileToken struct {
	path string

	mu     sync.Mutex
	seen   fs.FileInfo // of the file that secret was read from; nil before
	secret Secret
}

func (t *fileToken) Token() (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	info, err := os.Stat(t.path)
	if err != nil {
		t.seen = nil
		return "", tokenFileError(t.path, err)
	}
	if t.seen != nil && os.SameFile(t.seen, info) && t.seen.Size() == info.Size() && t.seen.ModTime().Equal(info.ModTime()) {
		return t.secret.Reveal(), nil
	}
	t.seen = nil
	token, err := readTokenFile(t.path)
	if err != nil {
		return "", err
	}
	t.seen, t.secret = info, NewSecret(token)
	return token, nil
}

func readTokenFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", tokenFileError(path, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxTokenFile+1))
	if err != nil {
		return "", tokenFileError(path, err)
	}
	if len(b) > maxTokenFile {
		return "", fmt.Errorf("token file %s is larger than 64 KiB: is it the right file?", path)
	}
	token := strings.TrimSpace(string(b))
	if token == "" {
		return "", fmt.Errorf("token file %s is empty: write the cluster's token into it", path)
	}
	return token, nil
}

func tokenFileError(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("token file %s does not exist: create it with the cluster's token, or correct the path", path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("token file %s may not be read by this user: change its owner or mode", path)
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return fmt.Errorf("token file %s cannot be read: %w", path, err)
}

// EnvToken finds the token as Ray's own tools do (2.60.0): RAY_AUTH_TOKEN, else
// the file that RAY_AUTH_TOKEN_PATH names, else ~/.ray/auth_token if that
// exists, else none. The files are re-read when they change, and one that
// appears later is found.
func EnvToken() TokenSource {
	t := &envTokenSource{static: NewSecret(strings.TrimSpace(os.Getenv(envToken)))}
	if path := os.Getenv(envTokenPath); path != "" {
		t.named = FileToken(path)
	}
	if home, err := os.UserHomeDir(); err == nil {
		t.homePath = filepath.Join(home, filepath.FromSlash(homeToken))
		t.home = FileToken(t.homePath)
	}
	return t
}

type envTokenSource struct {
	static   Secret
	named    TokenSource // nil where no path is set
	home     TokenSource // nil where there is no home
	homePath string
}

func (t *envTokenSource) Token() (string, error) {
	switch {
	case !t.static.Empty():
		return t.static.Reveal(), nil
	case t.named != nil:
		return t.named.Token()
	case t.home == nil:
		return "", nil
	}
	if _, err := os.Stat(t.homePath); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return "", nil
		}
		return "", tokenFileError(t.homePath, err)
	}
	return t.home.Token()
}
