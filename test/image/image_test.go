//go:build e2e && linux

// Package image builds the Dockerfile with buildah and runs the image in a container. The
// base image cannot be pulled everywhere, so the tests use a replacement: a shell and the
// CA certificates of a small Debian, and this machine's Go with its module and build
// caches. No network is needed.
package image

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"raytap/ray/raytest"
	"raytap/test/program"
)

func TestMain(m *testing.M) { os.Exit(program.Main(m)) }

const (
	version  = "1.2.3"
	revision = "0123456789abcdef0123456789abcdef01234567"
	user     = 65532
	// maxSize limits the size of the image in bytes.
	maxSize = 64 << 20
)

// build is a script that writes the image's description and its files to $out. It works
// in a copy of the Debian root, which ends with its mounts.
const build = `set -e
debian=$1 dir=$2 out=$3 source=$4 go=$5 modules=$6 cache=$7
mount -t tmpfs -o mode=755 raytap-test "$dir"
mkdir "$dir/upper" "$dir/work" "$dir/root"
mount -t overlay -o "lowerdir=$debian,upperdir=$dir/upper,workdir=$dir/work" raytap-test "$dir/root"
cd "$dir/root"
bind() { mkdir -p ".$2"; mount --rbind "$1" ".$2"; }
mount -t proc proc proc
for place in /dev /sys; do bind "$place" "$place"; done
mount -t tmpfs tmpfs tmp
mkdir -p var/lib/containers; mount -t tmpfs tmpfs var/lib/containers
bind "$source" /repository; bind "$out" /out
bind "$go" /usr/local/go; bind "$modules" /go/pkg/mod; bind "$cache" /go/cache
exec chroot . /bin/sh -e <<'END'
export PATH=/usr/sbin:/usr/bin HOME=/tmp STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
base=$(buildah from scratch)
root=$(buildah mount "$base")
mkdir -p "$root/usr/bin" "$root/etc/ssl/certs" "$root/tmp"
for name in bin lib lib64; do [ ! -L "/$name" ] || cp -a "/$name" "$root/"; done
for name in sh mkdir; do
	cp "/usr/bin/$name" "$root/usr/bin/"
	ldd "/usr/bin/$name" | grep -o '/[^ ]*' | while read -r library; do
		mkdir -p "$root/usr$(dirname "$library")"
		cp "$library" "$root/usr$library"
	done
done
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
buildah config --env PATH=/usr/local/go/bin:/usr/bin --env GOPATH=/go --env GOTOOLCHAIN=local --env GOCACHE=/go/cache "$base"
buildah commit --quiet "$base" docker.io/library/golang:1.26 >/dev/null
buildah build --pull-never --quiet --build-arg VERSION=` + version + ` --build-arg REVISION=` + revision + ` \
	--volume /usr/local/go:/usr/local/go:ro --volume /go/pkg/mod:/go/pkg/mod --volume /go/cache:/go/cache \
	--tag raytap /repository
buildah inspect --type image raytap >/out/image.json
mkdir /out/files
cp -a "$(buildah mount "$(buildah from --pull-never raytap)")/." /out/files/
END
`

// config is the part of an image's configuration that the tests check.
type config struct {
	User         string
	Entrypoint   []string
	Cmd          []string
	Env          []string
	ExposedPorts map[string]struct{}
	StopSignal   string
	Labels       map[string]string
}

// debian returns the directory of the Debian root.
func debian(t *testing.T) string {
	t.Helper()
	return filepath.Dir(filepath.Dir(filepath.Dir(program.Tool(t, "debian/usr/bin/buildah"))))
}

// unshared returns a command that runs a script in its own namespaces. Its processes and
// mounts end with it.
func unshared(script string, args ...string) *exec.Cmd {
	return exec.Command("unshare", append([]string{"--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc",
		"sh", "-c", script, "sh"}, args...)...)
}

// built builds the image, and returns its configuration and the directory of its files.
func built(t *testing.T) (c config, root string) {
	t.Helper()
	source, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	args := []string{debian(t), t.TempDir(), t.TempDir(), source}
	out := args[2]
	for _, name := range []string{"GOROOT", "GOMODCACHE", "GOCACHE"} {
		value, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, strings.TrimSpace(string(value)))
	}
	// The container has only the modules in the cache.
	download := exec.Command("go", "mod", "download")
	download.Dir = source
	if out, err := download.CombinedOutput(); err != nil {
		t.Fatalf("go mod download: %v\n%s", err, out)
	}
	p := program.Start(t, unshared(build, args...))
	if code := p.Wait(8 * time.Minute); code != 0 {
		t.Fatalf("build the image: exit code %d\n%s", code, program.Last(p.Output.String(), 4000))
	}
	b, err := os.ReadFile(filepath.Join(out, "image.json"))
	if err != nil {
		t.Fatal(err)
	}
	var image struct{ OCIv1 struct{ Config config } }
	if err := json.Unmarshal(b, &image); err != nil {
		t.Fatal(err)
	}
	return image.OCIv1.Config, filepath.Join(out, "files")
}

func TestImage(t *testing.T) {
	program.NeedRoot(t, "building and running an image requires root")
	c, root := built(t)
	if c.User != "65532:65532" || !slices.Equal(c.Entrypoint, []string{"/raytap"}) || len(c.Cmd) != 0 || c.StopSignal != "SIGTERM" {
		t.Errorf("the image's configuration is %+v", c)
	}
	if _, ok := c.ExposedPorts["9265/tcp"]; !ok || len(c.ExposedPorts) != 1 {
		t.Errorf("the image's ports are %v", c.ExposedPorts)
	}
	for name, want := range map[string]string{"version": version, "revision": revision, "licenses": "Apache-2.0", "title": "raytap"} {
		if got := c.Labels["org.opencontainers.image."+name]; got != want {
			t.Errorf("the image's label %s is %q, want %q", name, got, want)
		}
	}
	checkFiles(t, root)
	out, err := run(t, root, nil, append(c.Entrypoint, "version")).CombinedOutput()
	if err != nil {
		t.Fatalf("raytap version: %v\n%s", err, out)
	}
	if !strings.Contains(string(out), "version "+version+" (") || !strings.Contains(string(out), "revision: "+revision+")") {
		t.Errorf("raytap version prints %s", out)
	}

	state := t.TempDir()
	if err := os.Chown(state, user, user); err != nil {
		t.Fatal(err)
	}
	head := raytest.New(t)
	job := head.Submit("raysubmit_1", raytest.JobOptions{})
	job.Print("a line\n")
	address := program.FreeAddress(t)
	var lines program.Output
	cmd := run(t, root, &state, append(c.Entrypoint, "--web.listen-address", address),
		"RAY_API_SERVER_ADDRESS="+head.URL(), "XDG_STATE_HOME=/var/lib/raytap")
	cmd.Stdout = &lines
	p := program.Start(t, cmd)
	p.Until(time.Minute, "raytap serves /metrics", func() bool {
		return strings.Contains(program.Get("http://"+address+"/metrics"), `raytap_build_info{`)
	})
	p.Until(time.Minute, "the line is written", func() bool { return strings.Contains(lines.String(), `"message":"a line"`) })
	p.Until(time.Minute, "positions are saved", func() bool {
		b, _ := os.ReadFile(filepath.Join(state, "raytap/positions.db"))
		return bytes.Contains(b, []byte("raysubmit_1"))
	})
}

// checkFiles checks that the image has only the files that it needs.
func checkFiles(t *testing.T, root string) {
	t.Helper()
	var files []string
	var size int64
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			files = append(files, strings.TrimPrefix(path, root))
			size += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"/LICENSE", "/etc/ssl/certs/ca-certificates.crt", "/raytap"}; !slices.Equal(files, want) {
		t.Errorf("the files of the image are %q", files)
	}
	t.Logf("the size of the image is %.1f MiB", float64(size)/(1<<20))
	if size > maxSize {
		t.Errorf("the size of the image is %d bytes, want at most %d", size, maxSize)
	}
	info, err := os.Stat(filepath.Join(root, "var/lib/raytap"))
	if err != nil {
		t.Fatal(err)
	}
	if s := info.Sys().(*syscall.Stat_t); s.Uid != user || s.Gid != user {
		t.Errorf("the directory for a volume belongs to %d:%d", s.Uid, s.Gid)
	}
}

// run returns a command that runs a container of the image's files like Kubernetes: with a
// read-only root, without privileges, and with a volume, if there is one.
func run(t *testing.T, root string, volume *string, args []string, env ...string) *exec.Cmd {
	t.Helper()
	type object = map[string]any
	mounts := []object{{"destination": "/proc", "type": "proc", "source": "proc"},
		{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": []string{"nosuid", "mode=755"}}}
	if volume != nil {
		mounts = append(mounts, object{"destination": "/var/lib/raytap", "type": "bind", "source": *volume, "options": []string{"bind", "rw"}})
	}
	spec, err := json.Marshal(object{
		"ociVersion": "1.0.0",
		"process": object{
			"user": object{"uid": user, "gid": user}, "args": args, "env": env, "cwd": "/",
			"noNewPrivileges": true, "capabilities": object{},
		},
		"root":   object{"path": root, "readonly": true},
		"mounts": mounts,
		"linux":  object{"namespaces": []object{{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	bundle := t.TempDir()
	program.File(t, filepath.Join(bundle, "config.json"), string(spec))
	return unshared(`set -e
debian=$1 bundle=$2
mount -t tmpfs -o mode=755 raytap-test /run
umount -R /sys/fs/cgroup # crun does not support a hybrid cgroup hierarchy
mount -t cgroup2 raytap-test /sys/fs/cgroup
libraries=$(dirname "$(find "$debian/usr/lib" -name libc.so.6 | head -n 1)")
loader=$(find "$debian/lib64/" "$debian/lib/" -name 'ld-linux-*.so.*' | head -n 1)
exec "$loader" --library-path "$libraries" "$debian/usr/bin/crun" --cgroup-manager=disabled run --bundle "$bundle" "$3"
`, debian(t), bundle, fmt.Sprintf("raytap-test-%d", os.Getpid()))
}
