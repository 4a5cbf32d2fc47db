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

	"raytap/secret"
)

// Where Ray itself looks for a token, in this order (2.60.0).
const (
	envToken     = "RAY_AUTH_TOKEN"
	envTokenPath = "RAY_AUTH_TOKEN_PATH"
	homeToken    = ".ray/auth_token"
)

// maxTokenFile is the largest token file, in bytes.
const maxTokenFile = 64 << 10

// TokenSource returns the token of the next request, "" for none. An error fails the
// request: it is never sent without the token that it should carry. Implementations
// are called for each request, by several goroutines at once. One that is a fmt.Stringer
// says where its token is, for errors.
type TokenSource interface {
	Token() (string, error)
}

type staticToken struct{ token *secret.Text }

// StaticToken returns a source of one token; surrounding white space is trimmed.
func StaticToken(token string) TokenSource {
	text := secret.Text(strings.TrimSpace(token))
	return staticToken{&text}
}

func (t staticToken) Token() (string, error) { return string(*t.token), nil }

// FileToken returns a source that reads the token from a file, again whenever the
// file's time, size or identity changes (a mounted Kubernetes secret is replaced by a
// symlink). Surrounding white space is trimmed. A missing, unreadable or empty file is
// an error that names the path.
func FileToken(path string) TokenSource { return &fileToken{path: path} }

type fileToken struct {
	path string

	mu    sync.Mutex
	seen  fs.FileInfo  // of the file that token was read from; nil before
	token *secret.Text // nil only while seen is
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
		return string(*t.token), nil
	}
	t.seen = nil
	token, err := readTokenFile(t.path)
	if err != nil {
		return "", err
	}
	text := secret.Text(token)
	t.seen, t.token = info, &text
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
		return "", fmt.Errorf("token file %s is larger than 64 KiB: check that it is the right file", path)
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
		return fmt.Errorf("token file %s cannot be read by this user: change its owner or permissions", path)
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return fmt.Errorf("token file %s cannot be read: %w", path, err)
}

// EnvToken returns a source that finds the token as Ray's own tools do (2.60.0): in
// RAY_AUTH_TOKEN, else in the file that RAY_AUTH_TOKEN_PATH names, else in
// ~/.ray/auth_token if that exists, else none. Files are read again when they change,
// and one that is created later is found.
func EnvToken() TokenSource {
	if token := strings.TrimSpace(os.Getenv(envToken)); token != "" {
		return StaticToken(token)
	}
	if path := os.Getenv(envTokenPath); path != "" {
		return FileToken(path)
	}
	t := &homeTokenSource{}
	if home, err := os.UserHomeDir(); err == nil {
		t.path = filepath.Join(home, filepath.FromSlash(homeToken))
		t.file = FileToken(t.path)
	}
	return t
}

// homeTokenSource reads the token file of the user, if there is one.
type homeTokenSource struct {
	path string
	file TokenSource // nil if the user has no home directory
}

func (t *homeTokenSource) Token() (string, error) {
	if t.file == nil {
		return "", nil
	}
	if _, err := os.Stat(t.path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return "", nil
		}
		return "", tokenFileError(t.path, err)
	}
	return t.file.Token()
}
