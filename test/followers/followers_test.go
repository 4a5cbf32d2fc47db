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
	"raytap/test/program"
)

// key identifies a record.
type key struct {
	job   string
	seq   int
	event string
}

// follower is a program that follows the sink file, and the records it has read.
type follower struct {
	name string
	*program.Process
	got func() map[key]int // number of copies of each record
}

// rsyslogConf follows files and writes their lines unchanged.
const rsyslogConf = `
global(workDirectory=%q maxMessageSize="512k")
module(load="imfile")
template(name="line" type="string" string="%%msg%%\n")
ruleset(name="keep") { action(type="omfile" file=%q template="line") }
%s`

// rsyslogInput is the input for a file or pattern.
const rsyslogInput = `input(type="imfile" file=%q tag="ray" ruleset="keep" reopenOnTruncate="on")
`

// followByRsyslog follows files with rsyslog.
func followByRsyslog(t *testing.T, files ...string) follower {
	t.Helper()
	dir := t.TempDir()
	out := filepath.Join(dir, "out.jsonl")
	var inputs strings.Builder
	for _, file := range files {
		fmt.Fprintf(&inputs, rsyslogInput, file)
	}
	conf := program.File(t, filepath.Join(dir, "rsyslog.conf"), fmt.Sprintf(rsyslogConf, dir, out, inputs.String()))
	p := run(t, "rsyslogd", "-n", "-f", conf, "-i", filepath.Join(dir, "pid"))
	return follower{"rsyslog", p, func() map[key]int {
		b, err := os.ReadFile(out)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return count(string(b))
	}}
}

// followByVlagent follows files with vlagent, which sends them to VictoriaLogs.
func followByVlagent(t *testing.T, globs ...string) follower {
	t.Helper()
	store, dir := program.FreeAddress(t), t.TempDir()
	s := run(t, "victoria-logs", "-storageDataPath="+filepath.Join(dir, "store"), "-retentionPeriod=100y", "-httpListenAddr="+store)
	s.Until(20*time.Second, "VictoriaLogs is ready", func() bool { return program.Get("http://"+store+"/health") != "" })
	args := []string{"-remoteWrite.url=http://" + store + "/insert/native", "-tmpDataPath=" + dir,
		"-httpListenAddr=" + program.FreeAddress(t), "-fileCollector.refreshInterval=1s"}
	for _, glob := range globs {
		args = append(args, "-fileCollector.glob="+glob)
	}
	return follower{"vlagent", run(t, "vlagent", args...), func() map[key]int {
		return count(program.Get("http://" + store + "/select/logsql/query?query=*+%7C+fields+submission_id,seq,event"))
	}}
}

// count returns the number of copies of each record. Lines that are not records count
// for the zero key.
func count(text string) map[key]int {
	all := map[key]int{}
	text = text[:strings.LastIndexByte(text, '\n')+1] // the last line may be incomplete
	for line := range strings.Lines(text) {
		var r struct {
			Job   string `json:"submission_id"`
			Seq   any
			Event string
		}
		// VictoriaLogs returns each value as a string.
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

// printing makes jobs print numbered lines, about 0.7 MB per second in total, until stop
// is called.
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

// fill fills the disk except for a part of a record. If no disk could be mounted, it
// limits the size of raytap's files.
func (d *disk) fill(p *program.Process, file string) (free func()) {
	d.t.Helper()
	if !d.mounted {
		info, err := os.Stat(file)
		if err != nil {
			d.t.Fatal(err)
		}
		limit := func(n uint64) {
			// The process may have been killed.
			_ = unix.Prlimit(p.Cmd.Process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: n, Max: unix.RLIM_INFINITY}, nil)
		}
		limit(uint64(info.Size()) + 2000)
		return func() { limit(unix.RLIM_INFINITY) }
	}
	ballast, err := os.Create(filepath.Join(d.dir, "ballast"))
	if err != nil {
		d.t.Fatal(err)
	}
	defer ballast.Close()
	d.occupy(ballast)
	return func() {
		if err := os.Remove(ballast.Name()); err != nil {
			d.t.Fatal(err)
		}
	}
}

// occupy fills all free space with ballast. It tries again if raytap uses some of the
// space meanwhile.
func (d *disk) occupy(ballast *os.File) {
	d.t.Helper()
	var err error
	for range 100 {
		var st unix.Statfs_t
		if err := unix.Statfs(d.dir, &st); err != nil {
			d.t.Fatal(err)
		}
		if st.Bavail == 0 {
			return
		}
		err = unix.Fallocate(int(ballast.Fd()), 0, 0, int64(st.Bavail)*st.Bsize)
		if !errors.Is(err, unix.ENOSPC) {
			break
		}
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// subject is a raytap that writes to a small disk, and is restarted.
type subject struct {
	t      *testing.T
	disk   *disk
	file   string
	config string
	*program.Process
	metrics string // URL
}

func newSubject(t *testing.T, head *raytest.Head) *subject {
	t.Helper()
	s := &subject{t: t, disk: newDisk(t, "40m")}
	s.file = filepath.Join(s.disk.dir, "raytap.jsonl")
	s.config = fmt.Sprintf(`
clusters: [{url: %q}]
collector: {enabled: false}
shipper: {discovery: {interval: 100ms}, poll_interval: 100ms, grace_period: 100ms, backoff: {initial: 20ms, max: 200ms}, positions: {interval: 100ms}}
sink: {file: {path: %q, fsync: 50ms, rotate: {max_size: 1MiB, max_files: 20}}}
`, head.URL(), s.file)
	s.Process, s.metrics = raytap(t, nil, s.config)
	return s
}

func (s *subject) restart() {
	s.t.Helper()
	s.Kill()
	s.Process, s.metrics = raytap(s.t, nil, s.config)
}

func (s *subject) rotated() int {
	return int(sample(program.Get(s.metrics), "raytap_sink_file_number"))
}

// rotate waits for n rotations.
func (s *subject) rotate(n int) {
	s.t.Helper()
	want := s.rotated() + n
	s.Until(time.Minute, fmt.Sprintf("%d more rotations", n), func() bool { return s.rotated() >= want })
}

func (s *subject) blocked() bool {
	return strings.Contains(program.Get(s.metrics), "\nraytap_sink_stalled_since_timestamp_seconds ")
}

// fillWithinRecord fills the disk so that the file ends with a partial record.
func (s *subject) fillWithinRecord() (free func()) {
	s.t.Helper()
	for range 5 {
		free = s.disk.fill(s.Process, s.file)
		s.Until(20*time.Second, "the disk is full", s.blocked)
		b, err := os.ReadFile(s.file)
		if err != nil {
			s.t.Fatal(err)
		}
		if len(b) > 0 && b[len(b)-1] != '\n' {
			return free
		}
		free() // it ends with a complete record, by chance
		s.Until(20*time.Second, "the sink recovers", func() bool { return !s.blocked() })
	}
	s.t.Fatal("the file does not end with a partial record")
	return nil
}

// expect returns the records of the jobs.
func expect(jobs []*raytest.Job) map[key]bool {
	want := map[key]bool{}
	for _, job := range jobs {
		lines := strings.Count(string(job.Log()), "\n")
		for seq := range lines {
			want[key{job.ID, seq, ""}] = true
		}
		want[key{job.ID, 0, "start"}], want[key{job.ID, lines, "end"}] = true, true
	}
	return want
}

// The sink rotates, raytap is killed, a full disk leaves a partial record that the next
// start removes, and a burst fills several files. Followers of the current file and the
// rotated ones get every record, some twice. Followers of the rotated ones only get each
// record once.
func TestFollowers_EveryRecord(t *testing.T) {
	head := raytest.New(t)
	jobs := []*raytest.Job{head.Submit("job-1", raytest.JobOptions{}), head.Submit("job-2", raytest.JobOptions{})}
	s := newSubject(t, head)
	began, rotated := time.Now(), s.file+".[0-9]*"
	all := []follower{followByRsyslog(t, s.file, rotated), followByVlagent(t, s.file, rotated)}
	finished := []follower{followByRsyslog(t, rotated), followByVlagent(t, rotated)}
	for _, f := range all {
		f.Until(30*time.Second, f.name+" has the first records", func() bool { return f.got()[key{"job-2", 0, "start"}] > 0 })
	}

	stop := printing(jobs)
	s.rotate(4)
	for range 3 {
		s.restart()
		s.rotate(1)
	}
	free := s.fillWithinRecord()
	stop()
	s.restart()
	if s.disk.mounted { // else the limit applied to the killed process
		s.Until(20*time.Second, "the disk is full again", s.blocked)
	}
	if sample(program.Get(s.metrics), "raytap_sink_torn_bytes_total") == 0 {
		t.Error("no partial record was removed")
	}
	free()
	stop = printing(jobs)
	s.rotate(3)
	stop()
	before := s.rotated()
	jobs[0].Print(strings.Repeat(strings.Repeat("x", 999)+"\n", 8000))
	s.Until(20*time.Second, "the burst fills seven files", func() bool { return s.rotated() >= before+7 })

	want := expect(jobs)
	for _, job := range jobs {
		job.End("SUCCEEDED", 0)
	}
	for _, f := range all {
		f.check(t, want)
	}
	b, err := os.ReadFile(s.file)
	if err != nil {
		t.Fatal(err)
	}
	for k := range count(string(b)) {
		delete(want, k)
	}
	for _, f := range finished {
		if duplicated := f.check(t, want); duplicated > 0 {
			t.Errorf("%s has %d duplicated records", f.name, duplicated)
		}
	}
	t.Logf("%d files, %.1f s", s.rotated()+1, time.Since(began).Seconds())
}

// check waits for all records and fails the test if some are missing. It returns the
// number of duplicated records.
func (f follower) check(t *testing.T, want map[key]bool) (duplicated int) {
	t.Helper()
	missing := func(got map[key]int) (keys []key) {
		for k := range want {
			if got[k] == 0 {
				keys = append(keys, k)
			}
		}
		return keys
	}
	got := f.got()
	for limit := time.Now().Add(40 * time.Second); len(missing(got)) > 0 && time.Now().Before(limit); got = f.got() {
		select {
		case <-f.Exited:
			t.Fatalf("%s exited", f.name)
		case <-time.After(200 * time.Millisecond):
		}
	}
	for k := range want {
		if got[k] > 1 {
			duplicated++
		}
	}
	lost := missing(got)
	t.Logf("%s: %d of %d records, %d of them duplicated, %d lines that are not records", f.name, len(want)-len(lost), len(want), duplicated, got[key{}])
	if len(lost) > 0 {
		t.Errorf("%s lacks %d of %d records, for example %v", f.name, len(lost), len(want), lost[:min(10, len(lost))])
	}
	return duplicated
}
