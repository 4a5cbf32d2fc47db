package tail

import (
	"cmp"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"raytap/lines"
	"raytap/ray"
	"raytap/shipper/tail/tailtest"
)

// fakeRay is a Client with one job and its log.
type fakeRay struct {
	mu       sync.Mutex // guards log, once the fake is in use
	job      ray.Job
	log      string
	stream   string // what a WebSocket sends before it ends; "": log
	err      error  // of all reads of the log
	agentErr error  // of AgentLog
	textErr  error  // of LogText
	support  ray.LogTransports
	reads    []int // arguments of LogLines
}

// text returns the log, and setText replaces it.
func (f *fakeRay) text() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.log
}

func (f *fakeRay) setText(log string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = log
}

func (f *fakeRay) Version(context.Context) (ray.Version, error) {
	return ray.Version{Session: "session_1"}, nil
}
func (f *fakeRay) Job(context.Context, string) (ray.Job, error) { return f.job, nil }
func (f *fakeRay) LogTransports() ray.LogTransports             { return f.support }

func (f *fakeRay) TailLog(context.Context, ray.LogRef) (ray.LogStream, error) {
	text := f.stream
	if text == "" {
		text = f.text()
	}
	return &fakeStream{Reader: strings.NewReader(text)}, f.err
}

func (f *fakeRay) AgentFile(ctx context.Context, agentURL, name string, from, to int64) (ray.FilePart, error) {
	return tailtest.Read(ctx, f, agentURL, name, from, to)
}
func (f *fakeRay) AgentFileStat(ctx context.Context, agentURL, name string) (ray.FileStat, error) {
	return tailtest.Stat(ctx, f, agentURL, name)
}
func (f *fakeRay) AgentLog(_ context.Context, _ ray.LogRef, from int64) (ray.LogRange, error) {
	text := f.text()
	size := int64(len(text))
	return ray.LogRange{Body: io.NopCloser(strings.NewReader(text[min(from, size):])), Offset: from, Size: size}, cmp.Or(f.agentErr, f.err)
}

func (f *fakeRay) LogLines(_ context.Context, _ ray.LogRef, n int) (io.ReadCloser, error) {
	f.reads = append(f.reads, n)
	all := strings.SplitAfter(strings.TrimSuffix(f.text(), "\n"), "\n")
	if n > 0 {
		all = all[max(0, len(all)-n):]
	}
	return io.NopCloser(strings.NewReader(strings.Join(all, "") + "\n")), f.err
}

func (f *fakeRay) LogText(context.Context, ray.LogRef) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(f.text())), f.textErr
}

// fakeStream is a LogStream that sends a text as one message.
type fakeStream struct{ io.Reader }

func (*fakeStream) Messages() uint64 { return 1 }
func (*fakeStream) Close() error     { return nil }

// readerTest is a table row: a log is read twice, the second time after it has changed.
type readerTest struct {
	o           Options
	job         ray.Job // default: endedJob
	change      func(*fakeRay)
	first, then string // the log
	err, again  error  // of the two reads; again nil: there is no second one
	want        []string
}

func (tt readerTest) run(t *testing.T, newReader func(*source) reader, check func(*testing.T, *harness, *fakeRay)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		if tt.job.SubmissionID == "" {
			tt.job = endedJob
		}
		fake := &fakeRay{job: tt.job, log: tt.first}
		if tt.change != nil {
			tt.change(fake)
		}
		h := newHarness(t, tt.job, fake, tt.o)
		if err := h.readAll(newReader(h.source)); !errors.Is(err, tt.err) {
			t.Fatalf("error %v, want %v", err, tt.err)
		}
		if tt.again != nil {
			fake.setText(tt.then)
			fake.stream = ""
			if err := h.readAll(newReader(h.source)); !errors.Is(err, tt.again) {
				t.Errorf("error %v of the second read, want %v", err, tt.again)
			}
		}
		if check != nil {
			check(t, h, fake)
		}
		h.wantLines(tt.want...)
	})
}

var errFake = &ray.Error{Op: "read log", Code: 503}

func TestNodeAgentReader(t *testing.T) {
	for name, tt := range map[string]readerTest{
		"to the end":         {first: "a\nb\nlast", err: errComplete, want: []string{"a", "b", "last"}},
		"grown":              {first: "a\nb\n", err: errComplete, then: "a\nb\nc\n", again: errComplete, want: []string{"a", "b", "c"}},
		"truncated":          {first: "a\nb\n", err: errComplete, then: "a\n", again: errReplaced, want: []string{"a", "b"}},
		"replaced":           {first: "a\nb\n", err: errComplete, then: "x\ny\nz\n", again: errReplaced, want: []string{"a", "b"}},
		"agent out of reach": {first: "a\n", change: func(f *fakeRay) { f.err = errFake }, err: errFake},
	} {
		t.Run(name, func(t *testing.T) {
			tt.run(t, func(s *source) reader { return &nodeAgentReader{source: s} }, nil)
		})
	}
}

// A log that is replaced between two polls is noticed also if the last bytes before the
// offset are the same in both.
func TestNodeAgentReader_ReplacedWithinALine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		long := strings.Repeat("long ", 2*checkSize)
		fake := &fakeRay{job: runningJob, log: "one\ntwo " + long}
		h := newHarness(t, runningJob, fake, Options{})
		timer := time.AfterFunc(2*time.Second, func() { fake.setText("ONE\nTWO " + long + long + "\n") })
		defer timer.Stop()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := (&nodeAgentReader{source: h.source}).read(ctx); !errors.Is(err, errReplaced) {
			t.Errorf("error %v, want %v", err, errReplaced)
		}
		h.p.drop()
		h.wantLines("one")
	})
}

func TestFileReader(t *testing.T) {
	long := strings.Repeat("0123456789 a line of a long log\n", 3000)
	unique := long + "the only line like this\n"
	noAgent := endedJob // else the node agent is the better transport
	noAgent.DriverAgentURL = ""
	for name, tt := range map[string]readerTest{
		"to the end": {first: "a\nb\nlast", err: errComplete, want: []string{"a", "b", "last"}},
		"grown":      {first: "a\nb\n", err: errComplete, then: "a\nb\nc\n", again: errComplete, want: []string{"a", "b", "c"}},
		"truncated":  {first: "a\nb\n", err: errComplete, then: "a\n", again: errReplaced, want: []string{"a", "b"}},
		"API down":   {first: "a\n", change: func(f *fakeRay) { f.err = errFake }, err: errFake},
	} {
		t.Run(name, func(t *testing.T) {
			tt.job = noAgent
			tt.run(t, func(s *source) reader { return &fileReader{source: s} }, nil)
		})
	}
	t.Run("window", func(t *testing.T) {
		tt := readerTest{job: noAgent, first: unique, err: errComplete, then: unique + "new\n", again: errComplete}
		tt.want = append(strings.Split(strings.TrimSuffix(unique, "\n"), "\n"), "new")
		tt.run(t, func(s *source) reader { return &fileReader{source: s} }, func(t *testing.T, h *harness, f *fakeRay) {
			// The second read is a window, and one of the whole log to verify it.
			if n := len(f.reads); n < 4 || f.reads[0] != 0 || f.reads[n-2] == 0 || f.reads[n-1] != 0 {
				t.Errorf("lines requested: %v, want 0 (all), …, a window, 0", f.reads)
			}
			if h.p.log.Unverified {
				t.Error("the position is unverified at the end")
			}
		})
	})
}

func TestWebSocketReader(t *testing.T) {
	websocket := Options{Protocol: ProtocolWebSocket}
	newReader := func(s *source) reader { return &webSocketReader{source: s} }
	for name, tt := range map[string]readerTest{
		"closed while the job runs":       {job: runningJob, first: "a\nb\npart", err: errClosed, want: []string{"a", "b"}},
		"replayed":                        {job: runningJob, first: "a\nb\n", err: errClosed, then: "a\nb\nc\n", again: errClosed, want: []string{"a", "b", "c"}},
		"replaced":                        {job: runningJob, first: "a\nb\n", err: errClosed, then: "x\ny\nz\n", again: errReplaced, want: []string{"a", "b"}},
		"dial fails":                      {job: runningJob, first: "a\n", change: func(f *fakeRay) { f.err = errFake }, err: errFake},
		"ended, file reads the end":       {first: "a\n", err: errClosed, want: []string{"a"}},
		"ended, websocket only":           {o: websocket, first: "a\nlast", err: errComplete, want: []string{"a", "last"}},
		"ended, stream short of the file": {o: websocket, first: "a\nb\n", change: func(f *fakeRay) { f.stream = "a\n" }, err: errClosed, want: []string{"a"}},
		"ended, no file API":              {o: websocket, first: "a\n", change: func(f *fakeRay) { f.support.NoFile = true }, err: errRunEnded, want: []string{"a"}},
	} {
		t.Run(name, func(t *testing.T) { tt.run(t, newReader, nil) })
	}
	t.Run("slots", func(t *testing.T) {
		tt := readerTest{job: runningJob, o: Options{MaxTails: 1}, first: "a\n", err: errClosed, again: errNoSlot, want: []string{"a"}}
		tt.run(t, newReader, func(t *testing.T, h *harness, _ *fakeRay) {
			if h.slots.Count() != 1 || !h.slots.Abandoned(h.job.key) {
				t.Errorf("%d slots in use, want 1: Ray holds it until the job prints", h.slots.Count())
			}
		})
	})
}

func TestTextReader(t *testing.T) {
	noFile := func(f *fakeRay) { f.support.NoFile = true }
	notText := func(f *fakeRay) { f.support.NoFile, f.textErr = true, ray.ErrNotText }
	for name, tt := range map[string]readerTest{
		"to the end":                {change: noFile, first: "a\nb\nlast", err: errComplete, want: []string{"a", "b", "last"}},
		"grown":                     {change: noFile, first: "a\n", err: errComplete, then: "a\nb\n", again: errComplete, want: []string{"a", "b"}},
		"truncated":                 {change: noFile, first: "a\nb\n", err: errComplete, then: "a\n", again: errReplaced, want: []string{"a", "b"}},
		"not text, WebSocket left":  {change: notText, err: errRunEnded},
		"not text, node agent only": {o: Options{Protocol: ProtocolHTTP}, change: func(f *fakeRay) { notText(f); f.err = ray.ErrAgentNotAllowed }, err: errLost},
		"not text, agent down":      {o: Options{Protocol: ProtocolHTTP}, change: func(f *fakeRay) { notText(f); f.err = errFake }, err: ray.ErrNotText},
	} {
		t.Run(name, func(t *testing.T) {
			tt.run(t, func(s *source) reader { return &textReader{s} }, nil)
		})
	}
}

// fakeAgent is a MessageClient with one job.
type fakeAgent struct {
	*fakeRay
	messages []string // of a stream, before it ends
	end      error
	opened   atomic.Int32
}

func (f *fakeAgent) open() (ray.MessageStream, error) {
	f.opened.Add(1)
	return &fakeMessages{f.messages, f.end}, f.err
}

func (f *fakeAgent) TailWebSocket(context.Context, string) (ray.MessageStream, error) {
	return f.open()
}
func (f *fakeAgent) TailSSE(context.Context, string) (ray.MessageStream, error) { return f.open() }
func (f *fakeAgent) JobLogs(context.Context, string) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(f.text())), f.textErr
}

type fakeMessages struct {
	messages []string
	end      error
}

func (f *fakeMessages) Next() ([]byte, error) {
	if len(f.messages) == 0 {
		return nil, f.end
	}
	m := f.messages[0]
	f.messages = f.messages[1:]
	return []byte(m), nil
}

func (*fakeMessages) Close() error { return nil }

// agentOnly hides the methods of a Client.
type agentOnly struct {
	API
	MessageClient
}

func (a agentOnly) Version(ctx context.Context) (ray.Version, error) { return a.API.Version(ctx) }
func (a agentOnly) Job(ctx context.Context, id string) (ray.Job, error) {
	return a.API.Job(ctx, id)
}

func newAgentHarness(t *testing.T, f *fakeAgent, o Options) *harness {
	return newHarness(t, f.job, agentOnly{f, f}, o)
}

func TestMessageReader(t *testing.T) {
	broken := &ray.Error{Op: "read stream", Code: 503}
	for name, tt := range map[string]struct {
		job      ray.Job
		messages []string
		end      error
		openErr  error
		textErr  error
		err      error
		framing  lines.Framing
		want     []string
	}{
		"pieces of text":    {job: runningJob, messages: []string{"a\nb", "b\n", "c\n"}, end: broken, err: broken, framing: lines.FramingStream, want: []string{"a", "bb", "c"}},
		"lines":             {job: runningJob, messages: []string{"a", "b", "c"}, end: broken, err: broken, framing: lines.FramingLines, want: []string{"a", "b", "c"}},
		"first one held":    {job: runningJob, messages: []string{"a"}, end: broken, err: broken},
		"end while running": {job: runningJob, messages: []string{"a\n", "b\n"}, end: io.EOF, err: errClosed, framing: lines.FramingStream, want: []string{"a", "b"}},
		"end of the run":    {job: endedJob, messages: []string{"a\n", "b\n"}, end: io.EOF, err: errRunEnded, framing: lines.FramingStream, want: []string{"a", "b"}},
		"cannot be opened":  {job: runningJob, openErr: errFake, err: errFake},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fakeAgent{fakeRay: &fakeRay{job: tt.job, err: tt.openErr}, messages: tt.messages, end: tt.end}
				h := newAgentHarness(t, f, Options{})
				r := &messageReader{source: h.source, transport: SSE}
				if err := h.readAll(r); !errors.Is(err, tt.err) {
					t.Errorf("error %v, want %v", err, tt.err)
				}
				if got := *h.p.framing(SSE); got != tt.framing {
					t.Errorf("framing %q, want %q", got, tt.framing)
				}
				h.wantLines(tt.want...)
			})
		})
	}
	t.Run("no slot", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := &fakeAgent{fakeRay: &fakeRay{job: runningJob}, end: io.EOF}
			h := newAgentHarness(t, f, Options{MaxTails: 1})
			h.slots.Acquire("another job")
			if err := h.readAll(&messageReader{source: h.source, transport: SSE}); !errors.Is(err, errNoSlot) || f.opened.Load() != 0 {
				t.Errorf("error %v after %d streams, want %v after none", err, f.opened.Load(), errNoSlot)
			}
		})
	})
}

func TestSnapshotReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeAgent{fakeRay: &fakeRay{job: endedJob, log: "a\nb\nlast"}}
		h := newAgentHarness(t, f, Options{MaxTails: 1})
		h.slots.Acquire("another job") // else a stream is the better transport
		if err := h.readAll(&snapshotReader{h.source}); !errors.Is(err, errComplete) {
			t.Errorf("error %v, want %v", err, errComplete)
		}
		f.setText("x\ny\n")
		for i := 1; i <= maxSnapshotMismatches; i++ {
			want := errSnapshotIncomplete
			if i == maxSnapshotMismatches {
				want = errReplaced
			}
			if err := h.readAll(&snapshotReader{h.source}); !errors.Is(err, want) {
				t.Errorf("error %v of snapshot %d that differs, want %v", err, i, want)
			}
		}
		h.wantLines("a", "b", "last")
	})
}
