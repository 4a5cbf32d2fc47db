package cli

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"raytap/ray"
)

// blocked is an input without data.
type blocked struct{ until <-chan struct{} }

func (b blocked) Read([]byte) (int, error) {
	<-b.until
	return 0, errors.New("closed")
}

func TestStop_Confirmation(t *testing.T) {
	const question = "Stop job raysubmit_new, RUNNING, submitted 3m20s ago? [y/N] "
	for name, tt := range map[string]struct {
		input       string
		interactive bool
		yes         bool
		stopped     bool
		stderr      string
		err         string
		usage       bool
	}{
		"yes":                  {input: "y\n", interactive: true, stopped: true, stderr: question + "raytap: stop requested for job raysubmit_new\n"},
		"yes in full":          {input: " YES \n", interactive: true, stopped: true, stderr: question + "raytap: stop requested for job raysubmit_new\n"},
		"no":                   {input: "n\n", interactive: true, stderr: question, err: "not confirmed: nothing was changed"},
		"empty line":           {input: "\n", interactive: true, stderr: question, err: "not confirmed: nothing was changed"},
		"the end of the input": {input: "", interactive: true, stderr: question, err: "not confirmed: nothing was changed"},
		"another word":         {input: "yesterday\n", interactive: true, stderr: question, err: "not confirmed: nothing was changed"},
		"no terminal":          {input: "y\n", err: "confirmation required, but there is no terminal: use --yes to skip the confirmation", usage: true},
		"--yes":                {yes: true, stopped: true, stderr: "raytap: stop requested for job raysubmit_new\n"},
		"--yes on a terminal":  {yes: true, interactive: true, stopped: true, stderr: "raytap: stop requested for job raysubmit_new\n"},
	} {
		t.Run(name, func(t *testing.T) {
			s, f := newScreen(tt.input), cluster()
			s.Interactive = tt.interactive
			err := stopJob(context.Background(), f, "raysubmit_new", stopOptions{yes: tt.yes}, s.Console)
			s.want(t, "", tt.stderr)
			if got := ""; err != nil {
				if got = err.Error(); got != tt.err {
					t.Errorf("error %q, want %q", got, tt.err)
				}
			} else if tt.err != "" {
				t.Errorf("no error, want %q", tt.err)
			}
			var usage *UsageError
			if errors.As(err, &usage) != tt.usage {
				t.Errorf("error %v is a usage error: %t", err, !tt.usage)
			}
			if (len(f.calls) == 1) != tt.stopped {
				t.Errorf("stop requests: %q", f.calls)
			}
		})
	}
}

func TestStop_ConfirmationCanceled(t *testing.T) {
	s, f := newScreen(""), cluster()
	until := make(chan struct{})
	defer close(until)
	s.Interactive, s.In = true, blocked{until}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := stopJob(ctx, f, "raysubmit_new", stopOptions{}, s.Console); !errors.Is(err, context.Canceled) || len(f.calls) > 0 {
		t.Errorf("got %v; calls %q", err, f.calls)
	}
}

func TestDelete_Confirmation(t *testing.T) {
	s, f := newScreen("y\n"), cluster()
	s.Interactive = true
	if err := deleteApplication(context.Background(), f, "greeter", false, s.Console); err != nil {
		t.Fatal(err)
	}
	s.want(t, "", "Delete the Serve application greeter (RUNNING, 2/3 replicas running)? [y/N] raytap: deleting application greeter\n")
	if len(f.calls) != 1 || f.calls[0] != "greeter" {
		t.Errorf("calls %q", f.calls)
	}
	if err := deleteApplication(context.Background(), f, "nope", true, s.Console); ray.Code(err) != 404 || len(f.calls) != 1 {
		t.Errorf("an unknown application: %v, calls %q", err, f.calls)
	}
}

func TestStop_Results(t *testing.T) {
	down := &ray.Error{Op: "get job", Code: 503}
	ends := func(at int, status ray.JobStatus) func(*fake) {
		return func(f *fake) {
			if f.polls == at {
				f.jobs[0].Status = status
			}
		}
	}
	for name, tt := range map[string]struct {
		status  ray.JobStatus
		o       stopOptions
		stopErr error
		onJob   func(*fake)
		calls   int
		stderr  string
		err     string
	}{
		"already ended": {status: ray.JobFailed, stderr: "raytap: job j has already ended: FAILED\n"},
		"ends before the request": {status: ray.JobRunning, stopErr: &ray.Error{Op: "stop job", Code: 400}, onJob: ends(2, ray.JobSucceeded),
			calls: 1, stderr: "raytap: job j has ended in the meantime: SUCCEEDED\n"},
		"cannot be stopped": {status: ray.JobRunning, stopErr: &ray.Error{Op: "stop job", Code: 500, Detail: "no"}, calls: 1, err: "stop job: 500 no"},
		"pending": {status: ray.JobPending, calls: 1,
			stderr: "raytap: the job is PENDING: Ray may still try to start it\nraytap: stop requested for job j\n"},
		"--wait": {status: ray.JobRunning, o: stopOptions{wait: true}, onJob: ends(4, ray.JobStopped), calls: 1, stderr: "raytap: job j: STOPPED\n"},
		"--wait during an outage": {status: ray.JobRunning, o: stopOptions{wait: true}, onJob: func(f *fake) {
			f.down = nil
			if f.polls == 2 || f.polls == 3 {
				f.down = down
			}
			ends(5, ray.JobStopped)(f)
		}, calls: 1, stderr: "raytap: job j: STOPPED\n"},
		"--wait for a deleted job": {status: ray.JobRunning, o: stopOptions{wait: true}, onJob: func(f *fake) {
			if f.polls == 3 {
				f.jobs = nil
			}
		}, calls: 1, err: "get job: 404 no such job"},
		"--wait with a timeout": {status: ray.JobRunning, o: stopOptions{wait: true, timeout: 5 * time.Second}, calls: 1,
			err: "stop requested, but job j has not ended within 5s (--timeout)"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScreen("")
				tt.o.yes = true
				f := &fake{jobs: []ray.Job{{SubmissionID: "j", Status: tt.status}}, stopErr: tt.stopErr, onJob: tt.onJob}
				err := stopJob(t.Context(), f, "j", tt.o, s.Console)
				s.want(t, "", tt.stderr)
				if got := ""; err != nil {
					if got = err.Error(); got != tt.err {
						t.Errorf("error %q, want %q", got, tt.err)
					}
				} else if tt.err != "" {
					t.Errorf("no error, want %q", tt.err)
				}
				if len(f.calls) != tt.calls {
					t.Errorf("stop requests: %q", f.calls)
				}
			})
		})
	}
}
