package collector_test

import (
	"testing"
	"testing/synctest"
	"time"

	"raytap/collector"
	"raytap/ray"
	"raytap/ray/cache"
)

// taskLife is Ray's task list at one time.
type taskLife struct {
	session                  string
	running, failed, dropped int
}

func (l taskLife) show(c *cluster) {
	c.version = ray.Version{Ray: "2.60.0", Session: l.session}
	c.tasks = ray.TaskList{
		Tasks:   append(taskRows("01", "f", "RUNNING", l.running), taskRows("01", "f", "FAILED", l.failed)...),
		Dropped: l.dropped,
	}
}

// A list that lost tasks that it cannot lose without a reset counts once. Finished tasks,
// evicted attempts, a new session and small numbers do not count.
func TestTaskResets_Counted(t *testing.T) {
	const none = ""
	count := func(n string) string { return `raytap_tasks_reset_total{ray_cluster="prod"} ` + n }
	for name, row := range map[string]struct {
		lives []taskLife
		want  string
	}{
		"empty, 200, no warning":   {[]taskLife{{"s", 5, 20, 0}, {"s", 0, 0, 0}}, count("1")},
		"and filled again":         {[]taskLife{{"s", 5, 20, 100}, {"s", 300, 3, 0}}, count("1")},
		"twice":                    {[]taskLife{{"s", 5, 20, 0}, {"s", 0, 1, 0}, {"s", 0, 40, 0}, {"s", 0, 2, 0}}, count("2")},
		"looked at often":          {[]taskLife{{"s", 5, 20, 0}, {"s", 0, 0, 0}, {"s", 0, 0, 0}, {"s", 0, 0, 0}}, count("1")},
		"all that ran has ended":   {[]taskLife{{"s", 5000, 20, 7}, {"s", 0, 20, 7}}, count("0")},
		"failed ones are dropped":  {[]taskLife{{"s", 5, 100, 0}, {"s", 5, 10, 400}}, count("0")},
		"a few":                    {[]taskLife{{"s", 5000, 9, 0}, {"s", 0, 0, 0}}, count("0")},
		"a head that is restarted": {[]taskLife{{"s", 5, 20, 100}, {"s2", 0, 0, 0}, {"s2", 0, 0, 0}}, count("0")},
		"no session":               {[]taskLife{{"", 5, 20, 0}, {"", 0, 0, 0}}, none},
		"an agent, which reports no session": {
			[]taskLife{{ray.UnknownSession, 5, 20, 0}, {ray.UnknownSession, 0, 0, 0}}, none,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &cluster{}
				s := cache.New(h, cache.Options{})
				defer s.Close()
				row.lives[0].show(h)
				if _, err := s.Version(t.Context()); err != nil { // who ships, or an earlier scrape, has asked
					t.Fatal(err)
				}
				c := newCollector(s, collector.Options{})
				got := ""
				for _, life := range row.lives {
					life.show(h)
					for range 3 { // the same answers again are no news
						got = exposition(t, t.Context(), []string{"tasks_reset"}, c)
					}
					time.Sleep(time.Minute)
				}
				shows(t, got, row.want)
			})
		})
	}
}

// The head's version and its tasks are cached for different times: a restarted head whose
// session is not known yet does not count as a reset.
func TestTaskResets_RestartBetweenCachedResponses(t *testing.T) {
	for name, row := range map[string]struct{ versions, tasks time.Duration }{
		"versions are older": {25 * time.Second, time.Second},
		"tasks are older":    {time.Second, 25 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &cluster{}
				s := cache.New(h, cache.Options{TTL: row.versions, TasksTTL: row.tasks})
				defer s.Close()
				c := newCollector(s, collector.Options{})
				got := ""
				for i := range 60 {
					life := taskLife{"s", 5, 50, 0}
					if i >= 30 {
						life = taskLife{session: "s2"}
					}
					life.show(h)
					got = exposition(t, t.Context(), []string{"tasks_reset"}, c)
					time.Sleep(time.Second)
				}
				shows(t, got, `raytap_tasks_reset_total{ray_cluster="prod"} 0`)
			})
		})
	}
}

// A reset while the session could not be requested is counted later.
func TestTaskResets_SessionUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &cluster{}
		s := cache.New(h, cache.Options{})
		defer s.Close()
		taskLife{"s", 5, 50, 0}.show(h)
		c := newCollector(s, collector.Options{})
		for range 2 { // the second list is requested after a session is known
			exposition(t, t.Context(), nil, c)
			time.Sleep(time.Minute)
		}
		taskLife{session: "s"}.show(h)
		h.errs = map[string]error{"version": &ray.Error{Op: "get version", Code: 500}}
		shows(t, exposition(t, t.Context(), []string{"tasks_reset"}, c), `raytap_tasks_reset_total{ray_cluster="prod"} 0`)
		time.Sleep(time.Minute)
		h.errs = nil
		shows(t, exposition(t, t.Context(), []string{"tasks_reset"}, c), `raytap_tasks_reset_total{ray_cluster="prod"} 1`)
	})
}
