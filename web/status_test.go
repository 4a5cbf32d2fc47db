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
		"healthy": {func(*Status) {}, `Clusters 1 up prod up http://ray:8265 Ray 2\.60\.0 Last response 1 min ago Listed in the configuration jobs 1 job is tailed`, "failed|down|not ready"},
		"tail":    {func(*Status) {}, "job-1 node_agent reading 1 234 567 3\\.0 MiB just now", ""},
		"logs on nodes": {func(s *Status) {
			s.Clusters[0].NodeLogs = []NodeLogsStatus{workerLogs("1c0ffee51c0ffee5", now, 3), workerLogs("2c0ffee52c0ffee5", now.Add(-5*time.Minute), 1000)}
		}, `1 005 logs on 2 nodes are read Node Source Live Ended Excluded Done Oldest look 2c0ffee52c0f worker 1 000 1 2 40 000 5 min ago 1c0ffee51c0f worker 3 1 2 40 000 just now .* prod worker 1 003 2 4 80 000 `, "failing|not readable"},
		"failing logs on nodes": {func(s *Status) {
			bad := workerLogs("2c0ffee52c0ffee5", now, 5)
			bad.Failing, bad.FailingLogs = 2, []FailingLog{{Log: "worker-x.out", Error: "read: 500 <b>", Since: now.Add(-time.Hour)}}
			s.Clusters[0].NodeLogs = []NodeLogsStatus{workerLogs("1c0ffee51c0ffee5", now, 3), bad, {NodeID: "3c0ffee5", Error: "no route to the agent"}}
		}, `10 logs on 3 nodes are read, 2 failing , 1 node not readable .*Oldest look 3c0ffee5 no route to the agent 2c0ffee52c0f worker 5 .* 1c0ffee51c0f worker 3 .*worker-x.out 2c0ffee52c0f 1 h ago read: 500 &lt;b&gt; The 1 that fail longest, of 2\.`, ""},
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
		"Kubernetes": {func(s *Status) {
			s.Kubernetes = &KubernetesStatus{
				Watches:   []WatchStatus{{"rayclusters", "ray", now.Add(-time.Minute), ""}, {"pods", "ray", time.Time{}, "forbidden"}},
				Unwatched: []RayClusterStatus{{"ray/dev", "suspended", "it is suspended"}},
			}
		}, `rayclusters ray 1 min ago watched pods ray never failed pods in ray: forbidden 1 RayCluster without metrics and lines now .* ray/dev suspended it is suspended`, ""},
		"no cluster":     {func(s *Status) { s.Clusters = nil }, `No clusters are watched`, ""},
		"HTML in a name": {func(s *Status) { s.Clusters[0].Name = `<script>alert(1)</script>` }, `&lt;script&gt;alert\(1\)`, "<script"},
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

// workerLogs is a node with live logs of workers.
func workerLogs(node string, oldest time.Time, live uint64) NodeLogsStatus {
	return NodeLogsStatus{NodeID: node, OldestLog: "worker-1.out", OldestLook: oldest, Sources: []SourceStatus{{Source: "worker", Live: live, Ended: 1, Excluded: 2, Done: 40000}}}
}

// Of many nodes with many failing logs the page lists some, those with problems first, and
// says how many there are.
func TestStatusPage_ManyNodes(t *testing.T) {
	now := time.Now()
	cluster := ClusterStatus{Name: "prod", State: ClusterUp}
	for i := range 1000 {
		n := workerLogs(fmt.Sprintf("%012x", i), now.Add(-time.Duration(i)*time.Second), 100)
		if i%100 == 50 {
			n.Failing = 5
			for k := range n.Failing {
				n.FailingLogs = append(n.FailingLogs, FailingLog{Log: fmt.Sprintf("bad-%d-%d", i, k), Error: "500", Since: now.Add(-time.Duration(i) * time.Second)})
			}
		}
		cluster.NodeLogs = append(cluster.NodeLogs, n)
	}
	cluster.NodeLogs[7].Error = "no route"
	server, _ := newServer(t, func(o *Options) {
		o.Status = func() Status { return Status{Now: now, Clusters: []ClusterStatus{cluster}} }
	})
	page := body(t, ask(server, "GET", "/"))
	if n := strings.Count(page, `<td>worker</td><td class="n" data-name`); n != maxShownNodes {
		t.Errorf("%d nodes are listed, want %d", n, maxShownNodes)
	}
	if n := strings.Count(page, "<code>bad-"); n != maxShownFailing || !strings.Contains(page, "bad-950-4") {
		t.Errorf("%d failing logs are listed, want the %d that fail longest", n, maxShownFailing)
	}
	for _, want := range []string{"all 1000", "of 50", "no route", fmt.Sprintf("%012x", 999)} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
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
