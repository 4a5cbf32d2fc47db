package cli

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"raytap/ray"
)

// blocked is an input that nobody types at.
type blocked struct{ until <-chan struct{} }

func (b blocked) Read([]byte) (int, error) {
	<-b.until
	return 0, errors.New("closed")
}

func TestWhatCannotBeUndoneAsksFirst(t *testing.T) {
	const question = "Stop the job raysubmit_new, RUNNING, submitted 3m20s ago? [y/N] "
	for name, tt := range map[string]struct {
		input   string
		asks    bool
		yes     bool
		stopped bool
		stderr  string
		err     string
		usage   bool
	}{
		"yes":                  {input: "y\n", asks: true, stopped: true, stderr: question + "raytap: the job raysubmit_new is asked to stop\n"},
		"yes in full":          {input: " YES \n", asks: true, stopped: true, stderr: question + "raytap: the job raysubmit_new is asked to stop\n"},
		"no":                   {input: "n\n", asks: true, stderr: question, err: "nothing was done"},
		"only return":          {input: "\n", asks: true, stderr: question, err: "nothing was done"},
		"the end of the input": {input: "", asks: true, stderr: question, err: "nothing was done"},
		"something else":       {input: "yesterday\n", asks: true, stderr: question, err: "nothing was done"},
		"nobody to ask":        {input: "y\n", err: "this would ask first, and there is no terminal to ask at: give --yes to do it without a question", usage: true},
		"--yes":                {yes: true, stopped: true, stderr: "raytap: the job raysubmit_new is asked to stop\n"},
		"--yes at a terminal":  {yes: true, asks: true, stopped: true, stderr: "raytap: the job raysubmit_new is asked to stop\n"},
	} {
		t.Run(name, func(t *testing.T) {
			s, f := newScreen(tt.input), cluster()
			s.Asks = tt.asks
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
				t.Errorf("error %v is about usage: %t", err, !tt.usage)
			}
			if (len(f.asked) == 1) != tt.stopped {
				t.Errorf("asked to stop: %q", f.asked)
			}
		})
	}
}

func TestAQuestionEndsWithItsContext(t *testing.T) {
	s, f := newScreen(""), cluster()
	until := make(chan struct{})
	defer close(until)
	s.Asks, s.In = true, blocked{until}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := stopJob(ctx, f, "raysubmit_new", stopOptions{}, s.Console); !errors.Is(err, context.Canceled) || len(f.asked) > 0 {
		t.Errorf("got %v; asked %q", err, f.asked)
	}
}

func TestDeletingAnApplicationAsksFirst(t *testing.T) {
	s, f := newScreen("y\n"), cluster()
	s.Asks = true
	if err := deleteApplication(context.Background(), f, "greeter", false, s.Console); err != nil {
		t.Fatal(err)
	}
	s.want(t, "", "Delete the Serve application greeter (RUNNING, 2/3 replicas run)? [y/N] raytap: the application greeter is being deleted\n")
	if len(f.asked) != 1 || f.asked[0] != "greeter" {
		t.Errorf("asked %q", f.asked)
	}
	if err := deleteApplication(context.Background(), f, "nope", true, s.Console); ray.Code(err) != 404 || len(f.asked) != 1 {
		t.Errorf("an unknown one: %v, asked %q", err, f.asked)
	}
}

func TestStoppingAJob(t *testing.T) {
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
		asked   int
		stderr  string
		err     string
	}{
		"one that has ended is left alone": {status: ray.JobFailed, stderr: "raytap: the job j has ended already: FAILED\n"},
		"one that ends before it is asked": {status: ray.JobRunning, stopErr: &ray.Error{Op: "stop job", Code: 400}, onJob: ends(2, ray.JobSucceeded),
			asked: 1, stderr: "raytap: the job j has ended meanwhile: SUCCEEDED\n"},
		"one that cannot be stopped": {status: ray.JobRunning, stopErr: &ray.Error{Op: "stop job", Code: 500, Detail: "no"}, asked: 1, err: "stop job: 500 no"},
		"one that waits for resources": {status: ray.JobPending, asked: 1,
			stderr: "raytap: the job is PENDING: Ray may go on trying to start it\nraytap: the job j is asked to stop\n"},
		"and waiting for its end": {status: ray.JobRunning, o: stopOptions{wait: true}, onJob: ends(4, ray.JobStopped), asked: 1, stderr: "raytap: the job j: STOPPED\n"},
		"waiting through an outage": {status: ray.JobRunning, o: stopOptions{wait: true}, onJob: func(f *fake) {
			f.down = nil
			if f.polls == 2 || f.polls == 3 {
				f.down = down
			}
			ends(5, ray.JobStopped)(f)
		}, asked: 1, stderr: "raytap: the job j: STOPPED\n"},
		"waiting for one that is deleted": {status: ray.JobRunning, o: stopOptions{wait: true}, onJob: func(f *fake) {
			if f.polls == 3 {
				f.jobs = nil
			}
		}, asked: 1, err: "get job: 404 no such job"},
		"waiting for too long": {status: ray.JobRunning, o: stopOptions{wait: true, timeout: 5 * time.Second}, asked: 1,
			err: "the job j was asked to stop, and has not ended within 5s (--timeout)"},
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
				if len(f.asked) != tt.asked {
					t.Errorf("asked to stop: %q", f.asked)
				}
			})
		})
	}
}
