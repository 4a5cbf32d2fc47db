package web

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestStatusPage(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	healthy := Status{Now: now, Started: now.Add(-3 * time.Hour), Config: ConfigStatus{Loaded: now}, Clusters: []ClusterStatus{{
		Name: "prod", URL: "http://ray:8265", State: ClusterUp, Version: "2.60.0", LastAnswer: now.Add(-90 * time.Second),
		Collectors: []CollectorStatus{{Name: "jobs"}},
		Tails:      []TailStatus{{SubmissionID: "job-1", Transport: "node_agent", State: "reading", LastRead: now, Lines: 1234567, Bytes: 3 << 20}},
	}}, Shipper: &ShipperStatus{Sink: "/x.jsonl", Positions: "/x.positions"}}
	for name, tt := range map[string]struct {
		change func(*Status)
		want   string // regular expression for the text without tags
		not    string
	}{
		"healthy":              {func(*Status) {}, `Clusters 1 up prod up http://ray:8265 Ray 2\.60\.0 Last response 1 min ago Listed in the configuration jobs 1 job is tailed`, "failed|down|not ready"},
		"tail":                 {func(*Status) {}, "job-1 node_agent reading 1 234 567 3\\.0 MiB just now", ""},
		"failing tail":         {func(s *Status) { s.Clusters[0].Tails[0].Error = "read the log: 500 <b>" }, `1 job is tailed, 1 failing .*just now read the log: 500 &lt;b&gt;.* prod node_agent reading 1 1 `, ""},
		"cluster down":         {func(s *Status) { s.Clusters[0].State, s.Clusters[0].Error = ClusterDown, "no route" }, `0 up, 1 down prod down http://ray:8265 no route`, "jobs 1"},
		"cluster not checked":  {func(s *Status) { s.Clusters[0].State = ClusterWaiting }, `1 not checked yet`, ""},
		"failed collector":     {func(s *Status) { s.Clusters[0].Collectors[0].Error = "too slow" }, `jobs failed jobs: too slow`, ""},
		"failed reload":        {func(s *Status) { s.Config.Error, s.Config.Failed = "line 3: wrong", now.Add(-time.Hour) }, `reload failed loaded just now line 3: wrong The last reload failed 1 h ago`, ""},
		"blocked sink":         {func(s *Status) { s.Shipper.StalledSince = now.Add(-5 * time.Second) }, `The sink is blocked: a write that began 5 s ago`, ""},
		"positions in memory":  {func(s *Status) { s.Shipper.Positions = "" }, `Positions in memory only`, "Saved"},
		"no shipper":           {func(s *Status) { s.Shipper = nil }, `Configuration`, "Log shipper"},
		"not ready":            {func(s *Status) { s.NotReady = "raytap is not ready" }, `raytap is not ready`, ""},
		"invalid cluster file": {func(s *Status) { s.Files = []FileStatus{{"/c.json", 2, "it is empty"}} }, `/c\.json 2 invalid /c\.json : it is empty`, ""},
		"no cluster":           {func(s *Status) { s.Clusters = nil }, `No clusters are watched`, ""},
		"HTML in a name":       {func(s *Status) { s.Clusters[0].Name = `<script>alert(1)</script>` }, `&lt;script&gt;alert\(1\)`, "<script"},
	} {
		t.Run(name, func(t *testing.T) {
			s := healthy
			s.Clusters = append([]ClusterStatus(nil), healthy.Clusters...)
			for i := range s.Clusters {
				s.Clusters[i].Tails = append([]TailStatus(nil), s.Clusters[i].Tails...)
				s.Clusters[i].Collectors = append([]CollectorStatus(nil), s.Clusters[i].Collectors...)
			}
			if s.Shipper != nil {
				own := *healthy.Shipper
				s.Shipper = &own
			}
			tt.change(&s)
			server, _ := newServer(t, func(o *Options) { o.Status = func() Status { return s } })
			html := body(t, ask(server, "GET", "/"))
			_, html, _ = strings.Cut(html, "<body>")
			text := strings.Join(strings.Fields(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(html, " ")), " ")
			if !regexp.MustCompile(tt.want).MatchString(text) {
				t.Errorf("want %s in\n%s", tt.want, text)
			}
			if tt.not != "" && regexp.MustCompile(tt.not).MatchString(text+html) {
				t.Errorf("want no %s in\n%s", tt.not, text)
			}
		})
	}
}

func TestStatusPage_Bounded(t *testing.T) {
	s := Status{Now: time.Now(), Clusters: []ClusterStatus{{Name: "prod", State: ClusterUp}}}
	for i := range 3 * maxShown {
		s.Clusters[0].Tails = append(s.Clusters[0].Tails, TailStatus{SubmissionID: fmt.Sprint("job-", i), LastRead: s.Now.Add(-time.Duration(i) * time.Second)})
	}
	server, _ := newServer(t, func(o *Options) { o.Status = func() Status { return s } })
	r := ask(server, "GET", "/")
	page := body(t, r)
	if n := strings.Count(page, "<code>job-"); n != maxShown || !strings.Contains(page, fmt.Sprint("job-", 3*maxShown-1)) || strings.Contains(page, "job-0<") {
		t.Errorf("%d tails are listed, want the %d with the oldest reads", n, maxShown)
	}
	if strings.Contains(page, "<script") || strings.Contains(page, "src=") || strings.Contains(page, "url(") {
		t.Error("the page loads external content")
	}
	if csp := r.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") {
		t.Errorf("policy %q", csp)
	}
	if script := body(t, ask(server, "GET", "/api/v1/status")); strings.Count(script, `"submission_id"`) != 3*maxShown {
		t.Error("the JSON status omits tails")
	}
}
