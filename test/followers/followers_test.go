//go:build e2e && linux

package followers

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"raytap/ray/raytest"
)

// key is what tells records apart.
type key struct {
	job   string
	seq   int
	event string
}

// follower is a program that follows the file, and what it has got.
type follower struct {
	name string
	*process
	got func() map[key]int // how often each record
}

// rsyslogConf follows one file and writes its lines as they are.
const rsyslogConf = `
global(workDirectory=%q maxMessageSize="512k")
module(load="imfile")
template(name="line" type="string" string="%%msg%%\n")
ruleset(name="keep") { action(type="omfile" file=%q template="line") }
input(type="imfile" file=%q tag="ray" ruleset="keep" reopenOnTruncate="on")
`

func followByRsyslog(t *testing.T, file string) follower {
	t.Helper()
	dir := t.TempDir()
	out := filepath.Join(dir, "out.jsonl")
	conf := write(t, filepath.Join(dir, "rsyslog.conf"), fmt.Sprintf(rsyslogConf, dir, out, file))
	p := start(t, nil, tool(t, "rsyslogd"), "-n", "-f", conf, "-i", filepath.Join(dir, "pid"))
	return follower{"rsyslog", p, func() map[key]int {
		b, err := os.ReadFile(out)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return count(string(b))
	}}
}

// followByVlagent has vlagent follow files, and VictoriaLogs keep what it sends.
func followByVlagent(t *testing.T, name string, globs ...string) follower {
	t.Helper()
	store, dir := freeAddress(t), t.TempDir()
	s := start(t, nil, tool(t, "victoria-logs"), "-storageDataPath="+filepath.Join(dir, "store"), "-retentionPeriod=100y", "-httpListenAddr="+store)
	s.until(20*time.Second, "VictoriaLogs is up", func() bool { return get("http://"+store+"/health") != "" })
	args := []string{"-remoteWrite.url=http://" + store + "/insert/native", "-tmpDataPath=" + dir,
		"-httpListenAddr=" + freeAddress(t), "-fileCollector.refreshInterval=1s"}
	for _, glob := range globs {
		args = append(args, "-fileCollector.glob="+glob)
	}
	return follower{name, start(t, nil, tool(t, "vlagent"), args...), func() map[key]int {
		return count(get("http://" + store + "/select/logsql/query?query=*+%7C+fields+submission_id,seq,event"))
	}}
}

// count counts records by key; what is no record counts for the zero key.
func count(text string) map[key]int {
	all := map[key]int{}
	text = text[:strings.LastIndexByte(text, '\n')+1] // a writer may be at work
	for line := range strings.Lines(text) {
		var r struct {
			Job   string `json:"submission_id"`
			Seq   any
			Event string
		}
		// VictoriaLogs gives each value as a string.
		if json.Unmarshal([]byte(line), &r) != nil || r.Job == "" {
			all[key{}]++
			continue
		}
		seq, err := strconv.Atoi(fmt.Sprint(r.Seq))
		if err != nil {
			all[key{}]++
			continue
		}
		all[key{r.Job, seq, r.Event}]++
	}
	return all
}

// printing lets jobs print numbered lines, about 0.7 MB a second together,
// until the function that it gives is called.
func printing(jobs []*raytest.Job) (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	text := strings.Repeat("x", 150)
	go func() {
		defer close(done)
		pause := time.NewTicker(10 * time.Millisecond)
		defer pause.Stop()
		for i := 0; ; i++ {
			for _, job := range jobs {
				for k := range 10 {
					job.Printf("%07d %s\n", 10*i+k, text)
				}
			}
			select {
			case <-quit:
				return
			case <-pause.C:
			}
		}
	}()
	return func() { close(quit); <-done }
}

// fill leaves no more room than a part of a record on the disk. Where it could
// not be mounted, raytap's files may not grow.
func (d *disk) fill(p *process, file string) (free func()) {
	d.t.Helper()
	if !d.mounted {
		info, err := os.Stat(file)
		if err != nil {
			d.t.Fatal(err)
		}
		limit := func(n uint64) {
			// A process that was killed has no limits any more.
			_ = unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: n, Max: unix.RLIM_INFINITY}, nil)
		}
		limit(uint64(info.Size()) + 2000)
		return func() { limit(unix.RLIM_INFINITY) }
	}
	ballast, err := os.Create(filepath.Join(d.dir, "ballast"))
	if err != nil {
		d.t.Fatal(err)
	}
	defer ballast.Close()
	var st unix.Statfs_t
	if err := unix.Statfs(d.dir, &st); err != nil {
		d.t.Fatal(err)
	}
	if err := unix.Fallocate(int(ballast.Fd()), 0, 0, int64(st.Bavail)*st.Bsize); err != nil {
		d.t.Fatal(err)
	}
	return func() {
		if err := os.Remove(ballast.Name()); err != nil {
			d.t.Fatal(err)
		}
	}
}

const stalled = "\nraytap_sink_stalled_since_timestamp_seconds "

// Rotations, four SIGKILLs and a full disk, and both followers get every record.
func TestFollowersGetEveryLine(t *testing.T) {
	head, d := raytest.New(t), newDisk(t, "40m")
	file := filepath.Join(d.dir, "raytap.jsonl")
	config := fmt.Sprintf(`
clusters: [{url: %q}]
collector: {enabled: false}
shipper: {discovery: {interval: 100ms}, poll_interval: 100ms, linger: 100ms, backoff: {initial: 20ms, max: 200ms}, positions: {interval: 100ms}}
sink: {file: {path: %q, fsync: 50ms, rotate: {max_size: 1MiB, max_files: 20}}}
`, head.URL(), file)
	jobs := []*raytest.Job{head.Submit("job-1", raytest.JobOptions{}), head.Submit("job-2", raytest.JobOptions{})}
	p, page := raytap(t, nil, config)
	began := time.Now()
	all := []follower{followByRsyslog(t, file), followByVlagent(t, "vlagent", file)}
	for _, f := range all {
		f.until(30*time.Second, f.name+" has the first records", func() bool { return f.got()[key{"job-2", 0, "start"}] > 0 })
	}
	rotated := func() int { return int(sample(get(page), "raytap_sink_file_number")) }
	rotate := func(n int) {
		t.Helper()
		want := rotated() + n
		p.until(time.Minute, fmt.Sprintf("%d more rotations", n), func() bool { return rotated() >= want })
	}

	stop := printing(jobs)
	rotate(4)
	for range 3 {
		p.kill()
		p, page = raytap(t, nil, config)
		rotate(1)
	}
	free := d.fill(p, file)
	p.until(20*time.Second, "the disk is full", func() bool { return strings.Contains(get(page), stalled) })
	stop() // what waits then is less than a file
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	torn := len(b) > 0 && b[len(b)-1] != '\n'
	p.kill()
	if d.mounted {
		p, page = raytap(t, nil, config)
		p.until(20*time.Second, "the disk is full again", func() bool { return strings.Contains(get(page), stalled) })
		free()
	} else {
		p, page = raytap(t, nil, config) // the limit was that of the process before
	}
	stop = printing(jobs)
	rotate(3)
	stop()

	want := map[key]bool{}
	for _, job := range jobs {
		lines := strings.Count(string(job.Log()), "\n")
		for seq := range lines {
			want[key{job.ID, seq, ""}] = true
		}
		want[key{job.ID, 0, "start"}], want[key{job.ID, lines, "end"}] = true, true
		job.End("SUCCEEDED", 0)
	}
	for _, f := range all {
		var got map[key]int
		f.until(time.Minute, f.name+" has the jobs' ends", func() bool {
			got = f.got()
			return len(got) >= len(want) || has(got, "job-1") && has(got, "job-2")
		})
		judge(t, f.name, got, want)
	}
	t.Logf("%d files, a torn record: %v, %.1f s", rotated()+1, torn, time.Since(began).Seconds())
}

func has(got map[key]int, job string) bool {
	for k := range got {
		if k.job == job && k.event == "end" {
			return true
		}
	}
	return false
}

// judge checks that no record is missing, and tells how many came twice.
func judge(t *testing.T, name string, got map[key]int, want map[key]bool) {
	t.Helper()
	missing, doubled := 0, 0
	for k := range want {
		switch n := got[k]; {
		case n == 0:
			if missing++; missing <= 10 {
				t.Errorf("%s has no %+v", name, k)
			}
		case n > 1:
			doubled++
		}
	}
	t.Logf("%s: %d records of %d, %d more than once, %d lines that are none", name, len(want)-missing, len(want), doubled, got[key{}])
	if missing > 0 {
		t.Errorf("%s lacks %d records of %d", name, missing, len(want))
	}
}

// A burst that fills several files between two looks of a follower is more than
// following one name can give. With the rotated files beside it vlagent gets
// every record, and those of rotated files twice.
func TestRotatedFilesToo(t *testing.T) {
	head, dir := raytest.New(t), t.TempDir()
	file := filepath.Join(dir, "raytap.jsonl")
	job := head.Submit("job-1", raytest.JobOptions{})
	p, page := raytap(t, nil, fmt.Sprintf(`
clusters: [{url: %q}]
collector: {enabled: false}
shipper: {discovery: {interval: 100ms}, linger: 100ms}
sink: {file: {path: %q, rotate: {max_size: 1MiB, max_files: 30}}}
`, head.URL(), file))
	sure := followByVlagent(t, "vlagent, rotated files too", file, file+".[0-9]*")
	all := []follower{followByRsyslog(t, file), followByVlagent(t, "vlagent", file), sure}
	for _, f := range all {
		f.until(30*time.Second, f.name+" has the first record", func() bool { return f.got()[key{"job-1", 0, "start"}] > 0 })
	}
	job.Print(strings.Repeat(strings.Repeat("x", 999)+"\n", 10000))
	lines := strings.Count(string(job.Log()), "\n")
	job.End("SUCCEEDED", 0)
	want := map[key]bool{{"job-1", 0, "start"}: true, {"job-1", lines, "end"}: true}
	for seq := range lines {
		want[key{"job-1", seq, ""}] = true
	}
	p.until(time.Minute, "raytap has written all", func() bool {
		return sample(get(page), "raytap_shipper_records_written_total") >= float64(len(want))
	})
	for _, f := range all {
		f.until(time.Minute, f.name+" has the job's end", func() bool { return has(f.got(), "job-1") })
	}
	sure.until(time.Minute, "the rotated files are read", func() bool { return len(sure.got()) >= len(want) })
	for _, f := range all {
		t.Logf("%s: %d records of %d", f.name, len(f.got()), len(want))
	}
}
