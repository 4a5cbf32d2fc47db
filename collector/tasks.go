package collector

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"raytap/ray"
)

// This file: unfinished and failed tasks. Finished ones have no series: Ray
// forgets them as it likes, and counting them blocks its State worker.

type tasksSource interface {
	Tasks(context.Context) (ray.TaskList, error)
	// VersionNewerThan gives a version that was asked for at t or later.
	VersionNewerThan(ctx context.Context, t time.Time) (ray.Version, error)
}

// taskStates are the states that are shown.
var taskStates = slices.DeleteFunc(slices.Clone(ray.TaskStates), func(s string) bool { return s == stateFinished })

const stateFinished = "FINISHED"

// taskKey is what tasks are counted by: who is a job id, or a task's name.
type taskKey struct{ who, state string }

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
			help:   "Attempts of tasks in a state that is not FINISHED, by job; absent where there is none. Too low where tasks_truncated is 1.",
			labels: []string{"job_id", "state"}, unique: true,
			series: func(v tasksView, emit *emitter) { emitCounts(v.jobs, emit) },
		},
		{
			name:   "tasks_by_name",
			help:   "Attempts of tasks in a state that is not FINISHED, by task name; absent where there is none. Too low where tasks_truncated is 1. Only where the configuration asks for it.",
			labels: []string{"name", "state"}, unique: true,
			series: func(v tasksView, emit *emitter) { emitCounts(v.names, emit) },
		},
		{
			name:   "tasks_by_state",
			help:   "Attempts of tasks in a state that is not FINISHED, over all jobs; exact also where tasks_truncated is 1, absent where that could not be had.",
			labels: []string{"state"},
			series: func(v tasksView, emit *emitter) {
				if counts, ok := exactStates(v.TaskList); ok {
					countStates(taskStates, counts, emit.state)
				}
			},
		},
		{
			name: "tasks_truncated", help: "1 if Ray cut the list of tasks (at 10,000 rows), 0 if it is complete.",
			value: func(v tasksView) (float64, bool) { return number(v.Truncated), true },
		},
		{
			name: "tasks_queried_by_state", help: "1 if the list was cut and Ray was asked for the total of each state one by one: that takes it seconds, so that all values of tasks are asked for more rarely, 50 times what it took; else 0.",
			value: func(v tasksView) (float64, bool) { return number(v.Truncated && v.ByState != nil), true },
		},
		{
			name: "tasks_evicted", help: "Attempts of tasks, of any state, that Ray has had and no longer keeps: those of them that are not finished are missing in all counts. Absent where it does not tell.",
			value: func(v tasksView) (float64, bool) { return float64(v.Dropped), v.Dropped > 0 },
		},
		{
			name: "tasks_reset_total", help: "Times that Ray's list of tasks started over without a new session, since raytap began to watch the cluster: the attempts that failed or that Ray no longer keeps, which only get more while a list lives, fell to under half, from 10 or more. What had run before is in no count any more. A list that starts over with fewer of them, or has caught up by the next look, is missed. Absent where the session is not known.", counter: true,
			value: func(v tasksView) (float64, bool) { return float64(v.resets), v.resetsKnown },
		},
		{
			name: "tasks_overflow", help: "Series of a family that are not shown because it has more than tasks.max_series. What runs and what failed is kept first.", labels: []string{"family"},
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
		emit.series(float64(c.n), c.who, c.state)
	}
}

// exactStates counts by state; false where the list lacks rows and no exact
// totals came with it.
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
	o.MaxSeries = orDefault(o.MaxSeries, defaultMaxSeries)
	return &tasksCollector{source: source, opts: o, table: tasksTable.bind(s)}
}

func (c *tasksCollector) collect(ctx context.Context, out *sink) error {
	list, err := c.source.Tasks(ctx)
	if err != nil {
		return err
	}
	v := tasksView{TaskList: list, byName: c.opts.ByName}
	v.resets, v.resetsKnown = c.resets.look(ctx, c.source, list)
	// Of the rest, the newest jobs are kept under the cap: job ids count up.
	v.jobs, v.jobsOverflow = c.count(list.Tasks, func(t ray.Task) string { return t.JobID }, -1)
	if c.opts.ByName {
		v.names, v.namesOverflow = c.count(list.Tasks, func(t ray.Task) string { return cmp.Or(t.Name, t.Func) }, 1)
	}
	c.table.emit(out, v)
	return nil
}

// count counts tasks by who and state, and keeps as many as may be shown: what
// runs and what failed, then in the order of who (-1: falling), so that the
// choice is the same at each scrape.
func (c *tasksCollector) count(tasks []ray.Task, who func(ray.Task) string, order int) ([]taskCount, int) {
	counts := make(map[taskKey]int)
	for _, t := range tasks {
		if t.State != stateFinished {
			counts[taskKey{label(who(t)), label(t.State)}]++
		}
	}
	all := make([]taskCount, 0, len(counts))
	for key, n := range counts {
		all = append(all, taskCount{key, n})
	}
	overflow := max(0, len(all)-c.opts.MaxSeries)
	if overflow > 0 {
		slices.SortFunc(all, func(a, b taskCount) int {
			return cmp.Or(cmp.Compare(taskRank(a.state), taskRank(b.state)), order*strings.Compare(a.who, b.who), strings.Compare(a.state, b.state))
		})
		all = all[:c.opts.MaxSeries]
	}
	return all, overflow
}

// taskRank is 0 for the states that are kept first under a cap.
func taskRank(state string) int {
	if state == stateFailed || strings.HasPrefix(state, "RUNNING") {
		return 0
	}
	return 1
}
