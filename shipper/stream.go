package shipper

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"

	"raytap/ray"
)

// What ends a read. Only errComplete and errLimited end a stream.
var (
	errComplete = errors.New("the log was read to the end of its run")
	errLimited  = errors.New("a stream limit says to give the job up")
	errReplaced = errors.New("the log is not the one that was read before: it was replaced or truncated")
	errEnded    = errors.New("the stream ended")
	errSilent   = errors.New("the stream is silent while the log grows")
	errShort    = errors.New("the replay fell silent short of the position")
	errNoSlot   = errors.New("no WebSocket slot is free")
	errBetter   = errors.New("a better way may work again")
	errSettled  = errors.New("the run's end was decided before")
)

// Why a stream is told to stop although its job is not read to its end.
var (
	errSessionOver = errors.New("the head was restarted: this session's logs are out of reach")
	errRunReplaced = errors.New("another start time is reported for this id")
)

// stream follows the log of one run until it was read to its end, or lost.
type stream struct {
	sh      *Shipper
	session string
	started time.Time // the run's start_time
	job     atomic.Pointer[ray.Job]
	home    atomic.Pointer[ray.LogRef] // where the log was found, of a job without a node
	wake    chan struct{}              // a job update came
	stop    context.CancelCauseFunc
	ended   chan struct{} // closed when run has returned

	terminalAt moment       // when the end was first known; none: it is not
	gone       atomic.Bool  // Ray does not know the job any more
	absence    missing      // answers that say so, before they are believed
	lastRead   moment       // the last successful read
	superseded atomic.Bool  // another run has taken its id
	missed     atomic.Int32 // how many times in a row Ray did not know it
	shown      atomic.Pointer[shown]
	failed     atomic.Pointer[string] // why the last read failed, as it is shown; nil while failing is false

	log      *logState
	slots    *slots
	key      string             // names the run among those of its session
	lines    prometheus.Counter // of the cluster
	enc      *encoder
	lim      limiter
	ways     [ways]wayState
	entered  bool      // the streams metric counts this stream, by the next two
	way      way       // in use
	reading  bool      // false while it waits to try again
	failing  bool      // the last read failed, and was complained of
	grown    bool      // new content came since the last attempt began
	skipped  uint64    // lines left out since the last record
	heldAt   uint64    // the content that the last read came to that left lines held back
	tip      uint64    // the hash of the log's last lines when no slot was free
	textless error     // why the log cannot be had as text, now that its run is over; else nil
	grewAt   time.Time // when new content came last
	// reopening: the run's end is written, and its log is said to have grown. It
	// ends with the first line after that. readOn stays: the run had an end before.
	reopening, readOn bool
	onHead            string // what Ray wrote on the head of a job that ran on another node
	// unhelpful counts whole logs in a row that lacked what was read.
	unhelpful int
	absent    [ways]bool // of messages: ways by which the agent has no log

	cut   *cutter
	shape *shaper
	emit  func(cutLine) error
	b     *batch
	now   int64 // when the bytes at hand came, Unix nanoseconds
}

func (s *Shipper) newStream(session string, j ray.Job, log *logState) *stream {
	st := &stream{
		sh:      s,
		session: session,
		started: j.Start,
		wake:    make(chan struct{}, 1),
		ended:   make(chan struct{}),
		log:     log,
		key:     runKey(j),
		lines:   s.metrics.lines.WithLabelValues(s.opts.Cluster),
		slots:   s.sessionSlots(session),
		lim:     limiter{Limits: s.opts.Limits},
		stop:    func(error) {},
	}
	st.skipped = log.skipped
	st.shape = newShaper(&s.opts, st)
	st.lastRead.set(time.Now())
	st.setEncoder(j)
	st.update(j)
	return st
}

// runKey names a run among those of its session, and runID gives its submission
// id back.
func runKey(j ray.Job) string {
	return j.Start.UTC().Format(time.RFC3339Nano) + " " + j.SubmissionID
}

func runID(key string) string {
	_, id, _ := strings.Cut(key, " ")
	return id
}

func (s *stream) setEncoder(j ray.Job) {
	s.enc = newEncoder(&s.sh.opts, s.session, j)
	s.enc.setEpoch(s.log.epoch)
	s.enc.last = s.log.lastTime
}

func (s *stream) current() *ray.Job { return s.job.Load() }

// update tells the stream what the job list says of its job.
func (s *stream) update(j ray.Job) {
	if before := s.job.Load(); before != nil && before.Status.Terminal() && !j.Status.Terminal() {
		return // an answer from before the end: a run never comes back
	}
	if j.Start.IsZero() {
		j.Start = s.started
	}
	s.job.Store(s.atHome(&j))
	s.absence.over()
	s.missed.Store(0)
	if !j.Status.Terminal() && s.gone.CompareAndSwap(true, false) {
		s.terminalAt.clear() // the server had lost sight of it
	}
	if j.Status.Terminal() {
		s.terminalAt.setFirst(time.Now())
	}
	s.poke()
}

// vanish tells the stream that Ray does not know its job any more.
func (s *stream) vanish() {
	s.missed.Add(1)
	if s.gone.CompareAndSwap(false, true) {
		s.terminalAt.setFirst(time.Now())
		s.poke()
	}
}

func (s *stream) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *stream) logger() logrus.FieldLogger {
	return s.sh.opts.Log.WithField("submission_id", s.current().SubmissionID)
}

// run follows the log while reading lasts, and writes its last records while
// ctx does. It returns when the run's end was read and written, when the log is
// lost or given up, or when ctx ends.
func (s *stream) run(ctx, reading context.Context) {
	defer close(s.ended)
	s.enter(wayNone, false)
	defer s.leave()
	err := s.follow(reading)
	s.release(ctx)
	s.forgive()
	if cause := context.Cause(reading); cause != nil {
		err = cause
	}
	s.conclude(ctx, err)
}

// release hands over what a stream has when it was told to read no further.
// Where ctx has ended too the lines held back are read again by the next one.
func (s *stream) release(ctx context.Context) {
	if ctx.Err() == nil {
		s.letGo(ctx) //nolint:errcheck // they are read again, or a gap says that they are lost
	}
	s.flush(ctx) //nolint:errcheck // likewise
	s.drop()
}

// conclude writes the last records of a stream that is over because of err.
func (s *stream) conclude(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	if err := s.finish(ctx, err); err != nil && ctx.Err() == nil {
		s.logger().WithError(err).Error("The last records of this job were not written")
	}
}

// close is run for a stream that has nothing to read any more.
func (s *stream) close(ctx context.Context, why error) {
	defer close(s.ended)
	over, err := s.settle(ctx)
	if err == nil && !over {
		err = s.finish(ctx, why)
	}
	if err != nil && ctx.Err() == nil {
		s.logger().WithError(err).Error("The last records of this job were not written")
	}
}

// ask asks Ray for the job: the end of a stream is a question. It reports
// whether Ray answered.
func (s *stream) ask(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, s.sh.opts.Timeout)
	defer cancel()
	j, err := s.sh.cluster.Job(ctx, s.current().SubmissionID)
	switch {
	case err == nil:
		switch {
		case sameRun(j.Start, s.started):
			s.update(j)
		case s.sh.canDrain() && elsewhere(*s.current(), j):
			s.supersede()
		}
		return true
	case ray.Code(err) == http.StatusNotFound:
		// One such answer may come from a head that has not read its jobs yet.
		if v, err := s.sh.cluster.Version(ctx); err == nil && v.Session == s.session && s.absence.lasts(s.sh.opts.AbsentFor) {
			s.vanish()
		}
		return true
	}
	return false
}

// enter notes which way is in use.
func (s *stream) enter(w way, reading bool) {
	if s.entered && w == s.way && reading == s.reading {
		return
	}
	s.leave()
	s.entered, s.way, s.reading = true, w, reading
	s.shown.Store(&shown{w, reading})
	s.sh.metrics.streams.WithLabelValues(s.sh.opts.Cluster, w.String(), streamState(reading)).Inc()
}

func (s *stream) leave() {
	if s.entered {
		s.sh.metrics.streams.WithLabelValues(s.sh.opts.Cluster, s.way.String(), streamState(s.reading)).Dec()
	}
	s.entered = false
}

func streamState(reading bool) string {
	if reading {
		return "reading"
	}
	return "waiting"
}

// rest waits, and less long if the job's end becomes known meanwhile.
func (s *stream) rest(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		over := s.terminalAt.isSet()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
			return nil
		case <-s.wake:
			if !over && s.terminalAt.isSet() {
				return nil
			}
		}
	}
}

// awaitStart waits until the job has a log. A job that ended without one has none.
func (s *stream) awaitStart(ctx context.Context) error {
	for {
		j := s.current()
		switch {
		case j.DriverNodeID != "" && j.Status != ray.JobPending, s.sh.messages != nil && s.mayHaveLog(j):
			return nil
		case s.sh.messages != nil && j.Status.Terminal():
			return errUnstarted
		case s.sh.messages != nil && s.gone.Load():
			return fmt.Errorf("%w: Ray forgot the job before it told where it runs", errLost)
		case j.DriverNodeID != "" && (j.Status.Terminal() || s.gone.Load()):
			return nil
		case j.Status.Terminal() || s.gone.Load():
			if err := s.findLog(ctx); err != nil {
				return err
			}
			continue
		}
		s.lastRead.set(time.Now())
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.wake:
		}
	}
}

// leftOpen reports whether the log's last run was another than the stream's,
// and has no end event yet.
func (s *stream) leftOpen() bool {
	return s.log.begun && !s.log.done && !sameRun(s.log.run.Start, s.started)
}

func (s *stream) startEvent(ctx context.Context) error {
	j := *s.current()
	if s.leftOpen() {
		// Another run came while raytap was down.
		if err := s.tell(ctx, true, s.endRecord(otherStart, false, false)); err != nil {
			return err
		}
	}
	if s.log.node != "" && s.log.node != j.DriverNodeID {
		// Another node, another file.
		s.log.restart(newPosition())
	}
	s.log.node = j.DriverNodeID
	s.setEncoder(j)
	start := j.Start.UTC().Format(time.RFC3339Nano)
	found := slices.IndexFunc(s.log.found, func(e foundEvent) bool { return e.event == EventStart && e.start == start })
	s.log.found = s.log.found[found+1:] // those before it are of another run
	if s.log.begun && sameRun(s.log.run.Start, j.Start) || found >= 0 {
		s.log.run, s.log.begun, s.log.done, s.log.atEnd = j, true, false, false
		return nil
	}
	s.log.found = nil
	s.log.beginRun(s.nextLine())
	s.log.run, s.log.begun, s.log.done, s.log.atEnd = j, true, false, false
	ip := ""
	if u, err := url.Parse(j.DriverAgentURL); err == nil {
		ip = u.Hostname()
	}
	fields := []field{{"node_id", j.DriverNodeID}, {"node_ip", ip}}
	if !j.Start.IsZero() {
		fields = append(fields, field{"start_time", start})
	}
	return s.event(ctx, EventStart, fmt.Sprintf("shipping the log of job %s", j.SubmissionID), fields...)
}
