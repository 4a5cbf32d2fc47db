package dashboard_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"raytap/ray"
	"raytap/ray/dashboard"
	"raytap/ray/raytest"
	"raytap/ray/transport"
)

// The version determines which transports are missing, as in the published packages.
func TestLogTransports_ByVersion(t *testing.T) {
	for version, want := range map[string]ray.LogTransports{
		"2.9.3":   {NoFile: true},
		"2.10.0":  {NoFile: true},
		"2.11.0":  {NoFile: true, TailsBlock: true},
		"2.30.0":  {NoFile: true, TailsBlock: true},
		"2.37.0":  {NoFile: true, TailsBlock: true},
		"2.38.0":  {NoFile: true},
		"2.40.0":  {},
		"2.60.0":  {},
		"3.0.0":   {},
		"nightly": {},
	} {
		head := raytest.New(t, raytest.RayVersion(version))
		c := clientOf(t, head, 0)
		if got := c.LogTransports(); got != (ray.LogTransports{}) {
			t.Errorf("%s: before any response: %+v", version, got)
		}
		if _, err := c.Version(t.Context()); err != nil {
			t.Fatal(err)
		}
		want.Ray = version
		if got := c.LogTransports(); got != want {
			t.Errorf("%s: %+v, want %+v", version, got, want)
		}
	}
}

// A log as text is the whole log, or the error states why it can never be returned.
func TestLogText(t *testing.T) {
	head := raytest.New(t, raytest.RayVersion("2.9.3"))
	text := head.Submit("text", raytest.JobOptions{EmptyLog: true})
	text.Print("one\r\ntwo\rthree \uFFFD ☃")
	head.Submit("bytes", raytest.JobOptions{}).Print("\xff\n")
	head.Submit("large", raytest.JobOptions{}).Print(strings.Repeat("x", 3000))
	c := clientOf(t, head, 2000)
	body, err := c.LogText(t.Context(), ray.LogRef{SubmissionID: "text"})
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if got, err := io.ReadAll(body); err != nil || string(got) != "one\ntwo\nthree \uFFFD ☃" {
		t.Errorf("%q, %v", got, err)
	}
	for id, want := range map[string]error{"bytes": ray.ErrNotText, "large": ray.ErrTooLarge} {
		if _, err := c.LogText(t.Context(), ray.LogRef{SubmissionID: id}); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", id, err, want)
		}
	}
	if _, err := c.LogText(t.Context(), ray.LogRef{SubmissionID: "unknown"}); ray.Code(err) != 404 {
		t.Errorf("an unknown job: %v", err)
	}
}

func clientOf(t *testing.T, head *raytest.Head, maxBody int64) *dashboard.Client {
	t.Helper()
	tr, err := transport.New(transport.Options{URL: head.URL(), MaxBody: maxBody})
	if err != nil {
		t.Fatal(err)
	}
	c, err := dashboard.New(tr, dashboard.Options{NodeAgents: dashboard.NodeAgents{Mode: dashboard.NodeAgentsOff}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
