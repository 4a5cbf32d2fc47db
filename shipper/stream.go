package shipper

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
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
	errRunReplaced = errors.New("the id was submitted again")
)

// stream follows the log of one run until it was read to its end, or lost.
type stream struct {
	sh      *Shipper
	session string
	started time.Time // the run's start_time
	job     atomic.Pointer[ray.Job]
	wake    chan struct{} // a job update came
	stop    context.CancelCauseFunc
	ended   chan struct{} // closed when run has returned

	terminalAt atomic.Int64 // when the end was first known, Unix nanoseconds; 0: it is not
	gone       atomic.Bool  // Ray does not know the job any more
	lastRead   atomic.Int64 // the last successful read, Unix nanoseconds

	log     *logState
	slots   *slots
	key     string             // names the run among those of its session
	lines   prometheus.Counter // of the cluster
	enc     *encoder
	lim     limiter
	ways    [ways]wayState
	entered bool   // the streams metric counts this stream, by the next two
	way     way    // in use
	reading bool   // false while it waits to try again
	failing bool   // the last read failed, and was complained of
	grown   bool   // new content came since the last attempt began
	skipped uint64 // lines left out since the last record
	tip     uint64 // the hash of the log's last lines when no slot was free

	cut  *cutter
	emit func(cutLine) error
	b    *batch
	now  int64 // when the bytes at hand came, Unix nanoseconds
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
	st.lastRead.Store(time.Now().UnixNano())
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
	s.job.Store(&j)
	if j.Status.Terminal() {
		s.terminalAt.CompareAndSwap(0, time.Now().UnixNano())
	}
	s.poke()
}

// vanish tells the stream that Ray does not know its job any more.
func (s *stream) vanish() {
	if s.gone.CompareAndSwap(false, true) {
		s.terminalAt.CompareAndSwap(0, time.Now().UnixNano())
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
	s.readable()
	if cause := context.Cause(reading); cause != nil {
		err = cause
	}
	s.conclude(ctx, err)
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

// follow reads by one way after the other. The error tells why the stream is over.
//
// What a stream waits in, from here to rest, keeps to small frames: thousands of
// silent ones have little memory but their stacks.
func (s *stream) follow(ctx context.Context) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	r := s.newRetry()
	for {
		w, pause := s.choose(time.Now())
		if w != wayNone {
			err := s.attempt(ctx, w)
			if pause, err = s.again(ctx, r, w, err); err != nil {
				return err
			}
			if pause == 0 {
				continue
			}
		}
		s.enter(w, false)
		if err := s.rest(ctx, pause); err != nil {
			return err
		}
	}
}

// ready does what comes before the first read.
func (s *stream) ready(ctx context.Context) error {
	if over, err := s.settle(ctx); over || err != nil {
		return cmp.Or(err, errSettled)
	}
	if err := s.awaitStart(ctx); err != nil {
		return err
	}
	return s.startEvent(ctx)
}

// retry is what the attempts of one stream have come to.
type retry struct {
	wait *backoff.ExponentialBackOff
	lost lostWatch
}

func (s *stream) newRetry() *retry {
	return &retry{wait: backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(s.sh.opts.BackoffInitial),
		backoff.WithMaxInterval(s.sh.opts.BackoffMax),
		backoff.WithMaxElapsedTime(0), // never give up
	)}
}

// again decides what comes after an attempt that ended with err: another one
// after a pause, or the stream's end.
func (s *stream) again(ctx context.Context, r *retry, w way, err error) (time.Duration, error) {
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if errors.Is(err, errComplete) || errors.Is(err, errLimited) || errors.Is(err, errOutputClosed) {
		return 0, err
	}
	if s.grown {
		r.wait.Reset()
	}
	well := s.ask(ctx)
	if errors.Is(err, errReplaced) && well {
		r.wait.Reset()
		return 0, s.replaced(ctx)
	}
	if err := r.lost.check(ctx, s, err, time.Now()); err != nil {
		return 0, err
	}
	if s.judge(w, err, s.grown, well, time.Now()) {
		return 0, nil
	}
	return r.wait.NextBackOff(), nil
}

// attempt reads by one way until that ends, and counts why.
func (s *stream) attempt(ctx context.Context, w way) error {
	s.enter(w, true)
	s.grown = false
	var err error
	switch w {
	case wayAgent:
		err = s.followAgent(ctx)
	case wayWebSocket:
		err = s.followWebSocket(ctx)
	case wayFile:
		err = s.followFile(ctx)
	}
	return s.attempted(ctx, w, err)
}

func (s *stream) attempted(ctx context.Context, w way, err error) error {
	if ferr := s.flush(ctx); err == nil {
		err = ferr
	}
	s.drop()
	if ctx.Err() == nil {
		s.sh.metrics.ends.WithLabelValues(s.sh.opts.Cluster, endReason(err)).Inc()
		if !errors.Is(err, errComplete) {
			s.logger().WithFields(logrus.Fields{"way": w.String(), "content": s.log.pos.content}).WithError(err).Debug("A read of this log ended")
		}
		s.complain(w, err)
	}
	return err
}

// complain logs a read that failed, at a bounded rate for all streams together.
func (s *stream) complain(w way, err error) {
	for _, usual := range []error{errComplete, errLimited, errReplaced, errEnded, errNoSlot, errBetter, errGiveUp, ray.ErrWayRefused, errOutputClosed} {
		if errors.Is(err, usual) {
			return
		}
	}
	if !s.failing {
		s.failing = true
		s.sh.unread.Add(1)
	}
	s.sh.reading.Failed(fmt.Sprintf("A job's log cannot be read by the %s way, and is tried again", w), err)
}

// readable notes a successful read.
func (s *stream) readable() {
	s.lastRead.Store(time.Now().UnixNano())
	if s.failing {
		s.failing = false
		if s.sh.unread.Add(-1) == 0 {
			s.sh.reading.Well("All logs can be read again")
		}
	}
}

// endReason names an end in few words, for a label.
func endReason(err error) string {
	for reason, e := range map[string]error{
		"complete": errComplete, "limit": errLimited, "replaced": errReplaced, "closed": errEnded, "silent": errSilent,
		"short_replay": errShort, "no_slot": errNoSlot, "better_way": errBetter, "memory": errGiveUp, "refused": ray.ErrWayRefused,
	} {
		if errors.Is(err, e) {
			return reason
		}
	}
	switch code := ray.Code(err); code {
	case http.StatusUnauthorized, http.StatusForbidden:
		return "unauthorized"
	case http.StatusNotFound:
		return "not_found"
	case http.StatusRequestTimeout:
		return "timeout"
	case http.StatusTooManyRequests:
		return "too_many_requests"
	case http.StatusServiceUnavailable:
		return "connection"
	case http.StatusNotImplemented:
		return "unsupported"
	}
	return "error"
}

// ask asks Ray for the job: the end of a stream is a question. It reports
// whether Ray answered.
func (s *stream) ask(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, s.sh.opts.Timeout)
	defer cancel()
	j, err := s.sh.client.Job(ctx, s.current().SubmissionID)
	switch {
	case err == nil:
		if j.Start.Equal(s.started) {
			s.update(j)
		}
		return true
	case ray.Code(err) == http.StatusNotFound:
		if v, err := s.sh.client.Version(ctx); err == nil && v.Session == s.session {
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
		over := s.terminalAt.Load() != 0
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
			return nil
		case <-s.wake:
			if !over && s.terminalAt.Load() != 0 {
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
		case j.DriverNodeID != "" && j.Status != ray.JobPending:
			return nil
		case j.Status.Terminal():
			return errUnstarted
		case s.gone.Load():
			return fmt.Errorf("%w: Ray forgot the job before it told where it runs", errLost)
		}
		s.lastRead.Store(time.Now().UnixNano())
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
	return s.log.begun && !s.log.done && !s.log.run.Start.Equal(s.started)
}

func (s *stream) startEvent(ctx context.Context) error {
	j := *s.current()
	if s.leftOpen() {
		// Another run came while raytap was down.
		if err := s.tell(ctx, true, s.endRecord("the id was submitted again before this run's end was read", false, false)); err != nil {
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
	if s.log.begun && s.log.run.Start.Equal(j.Start) || slices.ContainsFunc(s.log.found, func(e foundEvent) bool {
		return e.event == EventStart && e.start == start
	}) {
		s.log.run, s.log.begun, s.log.done = j, true, false
		return nil
	}
	s.log.run, s.log.begun, s.log.done = j, true, false
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
