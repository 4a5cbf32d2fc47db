package raytest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// eventually polls for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("condition not met: %s", what)
		}
		<-time.After(2 * time.Millisecond)
	}
}

// hangs reports whether a request gets no response for 100 ms.
func hangs(t *testing.T, url string) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err == nil {
		_ = res.Body.Close()
	}
	return errors.Is(err, context.DeadlineExceeded)
}

func TestFault_Matching(t *testing.T) {
	h := New(t)
	h.Submit("a", JobOptions{})
	h.Submit("b", JobOptions{})
	in := h.Inject(Fault{Endpoint: EndpointJob, Job: "a", Skip: 1, Times: 2, Status: 418, Body: "tea"})
	var got []int
	for range 5 {
		status, _, _ := get(t, h.URL()+"/api/jobs/a")
		got = append(got, status)
		if status, _, _ := get(t, h.URL()+"/api/jobs/b"); status != 200 {
			t.Error("another job was hit")
		}
	}
	if want := []int{200, 418, 418, 200, 200}; !equal(got, want) || in.Hits() != 2 {
		t.Errorf("statuses %v, want %v; %d hits", got, want, in.Hits())
	}
	if h.Requests(EndpointJob) != 10 || h.Requests(EndpointJobs) != 0 || h.Requests("") != 10 {
		t.Errorf("%d requests counted", h.Requests(EndpointJob))
	}
	all := h.Inject(Fault{})
	if status, _, body := get(t, h.URL()+"/api/version"); status != 500 || !strings.Contains(string(body), "got itself in trouble") {
		t.Errorf("%d %s", status, body)
	}
	all.Remove()
	if status, _, _ := get(t, h.URL()+"/api/version"); status != 200 || all.Hits() != 1 {
		t.Errorf("after its removal: %d, %d hits", status, all.Hits())
	}
	h.Inject(Fault{Endpoint: EndpointJobs, Action: HTML, Times: 1})
	if _, kind, _ := get(t, h.URL()+"/api/jobs/"); kind != "text/html" {
		t.Errorf("content type %s, want text/html", kind)
	}
	hang := h.Inject(Fault{Endpoint: EndpointJobs, Action: Hang, Times: 1})
	if !hangs(t, h.URL()+"/api/jobs/") || hang.Hits() != 1 {
		t.Error("the request got a response")
	}
}

func equal(a, b []int) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return len(a) == len(b)
}

func TestFault_ChanceIsDeterministic(t *testing.T) {
	var runs [2][]int
	for i := range runs {
		h := New(t)
		in := h.Inject(Fault{Endpoint: EndpointVersion, Chance: 0.5, Rand: rand.New(rand.NewPCG(1, 2))})
		for range 20 {
			status, _, _ := get(t, h.URL()+"/api/version")
			runs[i] = append(runs[i], status)
		}
		if in.Hits() == 0 || in.Hits() == 20 {
			t.Errorf("%d hits of 20", in.Hits())
		}
	}
	if !equal(runs[0], runs[1]) {
		t.Errorf("runs with the same seed differ: %v and %v", runs[0], runs[1])
	}
}

func TestFault_CutsResponses(t *testing.T) {
	h := New(t)
	h.Submit("job", JobOptions{EmptyLog: true}).Print("0123456789")
	for url, endpoint := range map[string]string{
		h.Nodes()[0].AgentURL() + "/logs/job-driver-job.log":                              EndpointNodeAgent,
		h.URL() + "/api/v0/logs/file?node_id=x&submission_id=job&lines=-1":                EndpointLogFile,
		h.URL() + "/api/v0/logs/file?node_id=x&submission_id=job&lines=-1&format=text&a=": EndpointLogFile,
	} {
		for _, how := range []Action{CutClose, CutReset} {
			in := h.Inject(Fault{Endpoint: endpoint, Action: how, AfterBytes: 4, Times: 1})
			res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get(url)
			var body []byte
			if err == nil { // a reset may drop the headers, too
				body, err = io.ReadAll(res.Body)
				_ = res.Body.Close()
			}
			want := io.ErrUnexpectedEOF
			if how == CutReset {
				want = syscall.ECONNRESET
			}
			if in.Hits() != 1 || !errors.Is(err, want) || (how == CutClose && string(body) != "0123") {
				t.Errorf("%s by %d: %q, %v, %d hits", endpoint, how, body, err, in.Hits())
			}
		}
	}
}

func TestFault_CutsTails(t *testing.T) {
	tests := []struct {
		name string
		do   Action
		want string // what follows "0123" of the second frame, or the first frame
	}{
		{"by FIN", CutClose, "EOF"},
		{"by RST", CutReset, "reset"},
		{"by silence", HalfOpen, "timeout"},
		{"by a Close frame", CloseFrame, "close"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := New(t, PollInterval(2*time.Millisecond))
			j := h.Submit("job", JobOptions{EmptyLog: true})
			in := h.Inject(Fault{Endpoint: EndpointTail, Action: tt.do, AfterBytes: 18})
			v, _ := view(t, h, "job")
			j.Print("0123456789")
			same(t, event{Type: "text", Fin: 1, Len: 10, Data: "0123456789"}, v.next())
			j.Print("0123456789")
			if tt.do == CloseFrame {
				same(t, event{Type: "close", Code: 1000}, v.next())
				same(t, event{Type: "tcp_eof"}, v.next())
			} else {
				got := make([]byte, 6)
				_, err := io.ReadFull(v.r, got)
				if tt.do != CutReset && (err != nil || string(got) != "\x81\n0123") {
					t.Errorf("received %q, %v", got, err)
				}
				if err == nil { // a reset may drop earlier bytes, too
					err = v.end(tt.do)
				}
				if seen := seenEnd(err); seen != tt.want {
					t.Errorf("connection ended with %s (%v)", seen, err)
				}
			}
			if in.Hits() != 1 {
				t.Errorf("%d hits", in.Hits())
			}
		})
	}
}

// end reads until the connection ends; only a half-open one needs a deadline. Any byte
// before the end is an error.
func (v *viewer) end(how Action) error {
	if how == HalfOpen {
		_ = v.conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	}
	b, err := v.r.ReadByte()
	switch {
	case err == nil:
		return fmt.Errorf("byte %q", b)
	case err == io.EOF:
		return nil
	}
	return err
}

func seenEnd(err error) string {
	var ne net.Error
	switch {
	case err == nil:
		return "EOF"
	case errors.Is(err, syscall.ECONNRESET):
		return "reset"
	case errors.As(err, &ne) && ne.Timeout():
		return "timeout"
	}
	return err.Error()
}

func TestCutTails(t *testing.T) {
	for _, how := range []Action{CloseFrame, CutClose, CutReset, HalfOpen} {
		h := New(t, PollInterval(2*time.Millisecond))
		j := h.Submit("job", JobOptions{EmptyLog: true})
		h.Submit("other", JobOptions{EmptyLog: true})
		v, _ := view(t, h, "job")
		other, _ := view(t, h, "other")
		if n := h.CutTails(how, "job"); n != 1 {
			t.Fatalf("%d tails cut, want 1", n)
		}
		switch how {
		case CloseFrame:
			same(t, event{Type: "close", Code: 1000}, v.next())
			same(t, event{Type: "tcp_eof"}, v.next())
		default:
			j.Print("unseen\n")
			err := v.end(how)
			want := map[Action]string{CutClose: "EOF", CutReset: "reset", HalfOpen: "timeout"}[how]
			if seenEnd(err) != want {
				t.Errorf("after %d: %v", how, err)
			}
		}
		h.Job("other").Print("seen\n")
		same(t, event{Type: "text", Fin: 1, Len: 5, Data: "seen\n"}, other.next())
	}
}

func TestFault_Splits(t *testing.T) {
	h := New(t)
	j := h.Submit("a", JobOptions{EmptyLog: true})
	j.Print("ä\r\nb")
	for after, want := range map[int64][2]int{0: {}, 1: {1, 0}, 2: {}, 3: {0, 1}, 4: {}} {
		in := h.Inject(Fault{Endpoint: EndpointNodeAgent, Action: CutReset, AfterBytes: after, Times: 1})
		if res, err := http.Get(h.Nodes()[0].AgentURL() + "/logs/job-driver-a.log"); err == nil {
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		}
		eventually(t, "the cut", func() bool { return in.Hits() == 1 })
		if runes, crlfs := in.Splits(); [2]int{runes, crlfs} != want {
			t.Errorf("after %d bytes: %d runes and %d line ends split, want %v", after, runes, crlfs, want)
		}
		in.Remove()
	}
}

func TestFault_CutsJobResponse(t *testing.T) {
	h := New(t)
	h.Submit("a", JobOptions{})
	in := h.Inject(Fault{Endpoint: EndpointJob, Action: CutClose, AfterBytes: 20, Times: 1})
	res, err := http.Get(h.URL() + "/api/jobs/a")
	if err == nil {
		_, err = io.ReadAll(res.Body)
		_ = res.Body.Close()
	}
	if err == nil || in.Hits() != 1 {
		t.Errorf("%v, %d hits", err, in.Hits())
	}
	if status, _, _ := get(t, h.URL()+"/api/jobs/a"); status != 200 {
		t.Errorf("after the fault: %d", status)
	}
}
