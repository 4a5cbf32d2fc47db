//go:build linux

package realkube

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Image is a container image without a base image.
type Image struct {
	Name       string // with its tag
	User       string
	Entrypoint []string
	Owned      string            // a directory that belongs to the user; "": none
	Files      map[string]string // files of this machine, by path in the image
}

// RaytapImage returns raytap's image according to the last stage of the Dockerfile.
func RaytapImage(t testing.TB, name, binary string) Image {
	t.Helper()
	b, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?s)FROM scratch\n.*--chown=65532:65532 /state /(\S+)\n.*USER (\S+)\n.*ENTRYPOINT \["(\S+)"\]`).FindStringSubmatch(string(b))
	if m == nil {
		t.Fatal("the last stage of the Dockerfile does not have the form that this test expects")
	}
	i := Image{Name: name, Owned: m[1], User: m[2], Entrypoint: []string{m[3]}, Files: map[string]string{strings.TrimPrefix(m[3], "/"): binary}}
	const authorities = "etc/ssl/certs/ca-certificates.crt"
	if _, err := os.Stat("/" + authorities); err == nil {
		i.Files[authorities] = "/" + authorities
	}
	return i
}

// archive returns the image in the format of `docker save`, with one layer.
func (i Image) archive(t testing.TB) []byte {
	t.Helper()
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	if i.Owned != "" {
		put(t, w, &tar.Header{Typeflag: tar.TypeDir, Name: i.Owned + "/", Mode: 0o755, Uid: 65532, Gid: 65532}, nil)
	}
	for path, file := range i.Files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		put(t, w, &tar.Header{Name: path, Mode: 0o755}, b)
		for _, library := range libraries(file) {
			b, err := os.ReadFile(library)
			if err != nil {
				t.Fatal(err)
			}
			put(t, w, &tar.Header{Name: strings.TrimPrefix(library, "/"), Mode: 0o755}, b)
		}
	}
	closeTar(t, w)
	sum := sha256.Sum256(layer.Bytes())
	config := encode(t, map[string]any{
		"architecture": "amd64", "os": "linux",
		"config": map[string]any{"User": i.User, "Entrypoint": i.Entrypoint},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(sum[:])}},
	})
	var all bytes.Buffer
	w = tar.NewWriter(&all)
	put(t, w, &tar.Header{Name: "layer.tar", Mode: 0o644}, layer.Bytes())
	put(t, w, &tar.Header{Name: "config.json", Mode: 0o644}, config)
	put(t, w, &tar.Header{Name: "manifest.json", Mode: 0o644}, encode(t, []any{
		map[string]any{"Config": "config.json", "RepoTags": []string{i.Name}, "Layers": []string{"layer.tar"}}}))
	closeTar(t, w)
	return all.Bytes()
}

// libraries returns the shared libraries of a program of this machine. Some tools of the
// tests are linked with libc.
func libraries(program string) []string {
	out, err := exec.Command("ldd", program).Output()
	if err != nil {
		return nil // it is linked statically
	}
	var all []string
	for _, m := range regexp.MustCompile(`(?m)(/\S+) \(0x`).FindAllStringSubmatch(string(out), -1) {
		all = append(all, m[1])
	}
	return slices.Compact(slices.Sorted(slices.Values(all)))
}

func put(t testing.TB, w *tar.Writer, h *tar.Header, content []byte) {
	t.Helper()
	h.Size = int64(len(content))
	if err := w.WriteHeader(h); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
}

func closeTar(t testing.TB, w *tar.Writer) {
	t.Helper()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Write writes a file and returns its name.
func Write(t testing.TB, name, text string, mode fs.FileMode) string {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return name
}
