package cli

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strconv"

	"raytap/ray"
)

type taskLister interface {
	Tasks(ctx context.Context) (ray.TaskList, error)
}

type taskGetter interface {
	taskLister
	Task(ctx context.Context, id string) (ray.Task, error)
}

type taskFilter struct {
	states, types, names, jobs, nodes []string
	limit                             int
}

func (f taskFilter) match(t ray.Task) bool {
	return oneOf(t.State, f.states) && oneOf(t.Type, f.types) && like(t.Name, f.names) &&
		beginsWith(t.JobID, f.jobs) && beginsWith(t.NodeID, f.nodes)
}

// listTasks lists tasks by job and state.
func listTasks(ctx context.Context, from taskLister, f taskFilter, p printer) error {
	if err := checkPatterns("name", f.names); err != nil {
		return err
	}
	all, err := from.Tasks(ctx)
	if err != nil {
		return err
	}
	var tasks []ray.Task
	for _, t := range all.Tasks {
		if f.match(t) {
			tasks = append(tasks, t)
		}
	}
	slices.SortStableFunc(tasks, func(a, b ray.Task) int {
		return cmp.Or(cmp.Compare(a.JobID, b.JobID), cmp.Compare(a.State, b.State), cmp.Compare(a.Name, b.Name),
			cmp.Compare(a.ID, b.ID), cmp.Compare(a.Attempt, b.Attempt))
	})
	if all.Truncated {
		p.notef("the cluster cut its list: it gave %d of %s tasks, and which ones is arbitrary", len(all.Tasks), atLeast(all.Total, len(all.Tasks)))
	}
	if len(f.states) > 0 && oneOf("FINISHED", f.states) {
		p.notef("tasks that are FINISHED are not listed; tasks get tells of one by its id")
	}
	tasks = cut(p.Console, tasks, f.limit, "tasks")
	t := &table{columns: []column{
		{title: "ID", least: 12, id: true}, {title: "NAME", least: 12}, {title: "STATE"}, {title: "TYPE", spare: 3}, {title: "JOB"},
		{title: "NODE", least: 12, id: true, spare: 1}, {title: "ATTEMPT", right: true, spare: 2}, {title: "ERROR", least: 8},
	}}
	for _, x := range tasks {
		t.add(text(x.ID), text(taskName(x)), state(x.State), cell{x.Type, faint}, text(x.JobID), text(x.NodeID),
			text(strconv.Itoa(x.Attempt)), cell{x.Error, red})
	}
	return p.rows(views(tasks, func(t ray.Task) taskView { return taskView(t) }), t, none("tasks", len(all.Tasks)))
}

// atLeast says a total that is not known where a list was cut.
func atLeast(total, seen int) string {
	if total > seen {
		return strconv.Itoa(total)
	}
	return "more"
}

func taskName(t ray.Task) string {
	if t.Name == "" {
		return t.Func
	}
	return t.Name
}

func getTask(ctx context.Context, from taskGetter, id string, p printer) error {
	t, err := from.Task(ctx, id)
	// Ray calls what is shorter than an id a bad request (2.60.0).
	if code := ray.Code(err); code == http.StatusNotFound || code == http.StatusBadRequest {
		list, err2 := from.Tasks(ctx)
		if err2 != nil {
			return err2
		}
		t, err = theOne(list.Tasks, "attempts of tasks", id, err, func(t ray.Task) string { return t.ID })
	}
	if err != nil {
		return err
	}
	return p.print(taskView(t), func() string {
		fn := t.Func
		if fn == t.Name {
			fn = ""
		}
		return facts([]fact{
			{"Task", text(t.ID)}, {"Name", text(t.Name)}, {"Function", text(fn)}, {"State", state(t.State)}, {"Type", text(t.Type)},
			{"Attempt", text(strconv.Itoa(t.Attempt))}, {"Job", text(t.JobID)}, {"Node", text(t.NodeID)}, {"Actor", text(t.ActorID)},
			{"Error", cell{t.Error, red}},
		}, p.Colors)
	})
}
