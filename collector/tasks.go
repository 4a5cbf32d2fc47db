package collector

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"raytap/ray"
)

// This file: unfinished and failed tasks. Finished ones have no series: Ray evicts them at
// any time, and counting them blocks its State worker.

type tasksSource interface {
	Tasks(context.Context) (ray.TaskList, error)
	// VersionNewerThan returns a version that was requested at t or later.
	VersionNewerThan(ctx context.Context, t time.Time) (ray.Version, error)
}

// taskStates are the states that are shown.
var taskStates = slices.DeleteFunc(slices.Clone(ray.TaskStates), func(s string) bool { return s == stateFinished })

const stateFinished = "FINISHED"

// taskKey is what tasks are counted by: owner is a job id or a task's name.
type taskKey struct{ owner, state string }

type taskCount struct {
	taskKey
	n int
}

type tasksView struct {
	ray.TaskList
	byName        bool
	jobs, names   []taskCount
	jobsOverflow  int
	namesOverflow int
	resets        int
	resetsKnown   bool
}

var tasksTable = table[tasksView]{
	source: "filtered task list, as far as Ray keeps task events" + tasksFresh,
	rows: []row[tasksView]{
		{
			name:   "tasks",
			help:   "Task attempts in each state except FINISHED, by job. Absent where there is none. Too low if raytap_tasks_truncated is 1.",
			labels: []string{"job_id", "state"}, unique: true,
			series: func(v tasksView, emit *emitter) { emitCounts(v.jobs, emit) },
		},
		{
			name:   "tasks_by_name",
			help:   "Task attempts in each state except FINISHED, by task name. Absent where there is none. Too low if raytap_tasks_truncated is 1. Requires collector.tasks.by_name.",
			labels: []string{"name", "state"}, unique: true,
			series: func(v tasksView, emit *emitter) { emitCounts(v.names, emit) },
		},
		{
			name:   "tasks_by_state",
			help:   "Task attempts in each state except FINISHED, for all jobs together. Exact even if raytap_tasks_truncated is 1; absent if the exact counts could not be fetched.",
			labels: []string{"state"},
			series: func(v tasksView, emit *emitter) {
				if counts, ok := exactStates(v.TaskList); ok {
					countStates(taskStates, counts, emit.state)
				}
			},
		},
		{
			name: "tasks_truncated", help: "1 if Ray truncated the task list (at 10,000 rows), 0 if it is complete.",
			value: func(v tasksView) (float64, bool) { return number(v.Truncated), true },
		},
		{
			name: "tasks_queried_by_state", help: "1 if the task list was truncated and the total of each state was requested separately. This takes Ray seconds, so that all task metrics are refreshed less often, after 50 times the duration. 0 otherwise.",
			value: func(v tasksView) (float64, bool) { return number(v.Truncated && v.ByState != nil), true },
		},
		{
			name: "tasks_evicted", help: "Task attempts, in any state, that Ray no longer keeps. Unfinished ones among them are missing in all counts. Absent if Ray does not report the number.",
			value: func(v tasksView) (float64, bool) { return float64(v.Dropped), v.Dropped > 0 },
		},
		{
			name: "tasks_reset_total", help: "Resets of Ray's task list within a session, since raytap began to watch the cluster. A reset is detected when the number of failed and evicted attempts, which otherwise only grows, falls from 10 or more to less than half. Earlier tasks are in no count any more. A reset with fewer attempts, or one that has caught up by the next request, is missed. Absent if the session is unknown.", counter: true,
			value: func(v tasksView) (float64, bool) { return float64(v.resets), v.resetsKnown },
		},
		{
			name: "tasks_overflow", help: "Series of a family that are not shown because there are more than collector.tasks.max_series. Running and failed tasks are kept first.", labels: []string{"family"},
			series: func(v tasksView, emit *emitter) {
				emit.series(float64(v.jobsOverflow), "tasks")
				if v.byName {
					emit.series(float64(v.namesOverflow), "tasks_by_name")
				}
			},
		},
	},
}

func emitCounts(counts []taskCount, emit *emitter) {
	for _, c := range counts {
		emit.series(float64(c.n), c.owner, c.state)
	}
}

// exactStates returns the count of each state except FINISHED, and false if the list is
// truncated and has no exact totals.
func exactStates(l ray.TaskList) (map[string]int, bool) {
	if l.Truncated && l.ByState == nil {
		return nil, false
	}
	counts := make(map[string]int)
	if l.Truncated {
		for state, n := range l.ByState {
			if state != stateFinished {
				counts[state] = n
			}
		}
		return counts, true
	}
	for _, t := range l.Tasks {
		if t.State != stateFinished {
			counts[t.State]++
		}
	}
	return counts, true
}

type tasksCollector struct {
	source tasksSource
	opts   TasksOptions
	table  bound[tasksView]
	resets taskResets
}

func newTasks(source tasksSource, s settings, o TasksOptions) *tasksCollector {
	o.MaxSeries = cmp.Or(o.MaxSeries, defaultMaxSeries)
	return &tasksCollector{source: source, opts: o, table: tasksTable.bind(s)}
}

func (c *tasksCollector) collect(ctx context.Context, out *seriesBuffer) error {
	list, err := c.source.Tasks(ctx)
	if err != nil {
		return err
	}
	v := tasksView{TaskList: list, byName: c.opts.ByName}
	v.resets, v.resetsKnown = c.resets.observe(ctx, c.source, list)
	// Under the limit the newest jobs are kept: job ids are ascending.
	v.jobs, v.jobsOverflow = c.count(list.Tasks, func(t ray.Task) string { return t.JobID }, -1)
	if c.opts.ByName {
		v.names, v.namesOverflow = c.count(list.Tasks, func(t ray.Task) string { return cmp.Or(t.Name, t.Func) }, 1)
	}
	c.table.emit(out, v)
	return nil
}

// count counts tasks by owner and state. It returns at most MaxSeries counts and the number
// of those omitted: running and failed tasks first, then by owner, in ascending (order 1) or
// descending (-1) order, so that the selection is the same at each scrape.
func (c *tasksCollector) count(tasks []ray.Task, owner func(ray.Task) string, order int) ([]taskCount, int) {
	counts := make(map[taskKey]int)
	for _, t := range tasks {
		if t.State != stateFinished {
			counts[taskKey{label(owner(t)), label(t.State)}]++
		}
	}
	all := make([]taskCount, 0, len(counts))
	for key, n := range counts {
		all = append(all, taskCount{key, n})
	}
	overflow := max(0, len(all)-c.opts.MaxSeries)
	if overflow > 0 {
		slices.SortFunc(all, func(a, b taskCount) int {
			return cmp.Or(cmp.Compare(taskRank(a.state), taskRank(b.state)), order*strings.Compare(a.owner, b.owner), strings.Compare(a.state, b.state))
		})
		all = all[:c.opts.MaxSeries]
	}
	return all, overflow
}

// taskRank returns 0 for the states that are kept first under a limit, 1 for others.
func taskRank(state string) int {
	if state == stateFailed || strings.HasPrefix(state, "RUNNING") {
		return 0
	}
	return 1
}
