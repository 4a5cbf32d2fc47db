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
	return containsFold(f.states, t.State) && containsFold(f.types, t.Type) && matchesAny(t.Name, f.names) &&
		hasAnyPrefix(t.JobID, f.jobs) && hasAnyPrefix(t.NodeID, f.nodes)
}

// listTasks lists tasks, sorted by job and state.
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
		p.infof("incomplete list: the cluster returned %d of %s tasks, an arbitrary selection", len(all.Tasks), formatTotal(all.Total, len(all.Tasks)))
	}
	if len(f.states) > 0 && containsFold(f.states, "FINISHED") {
		p.infof("FINISHED tasks are not listed; use tasks get ID to show one")
	}
	tasks = limitRows(p.Console, tasks, f.limit, "tasks")
	t := &table{columns: []column{
		{title: "ID", minWidth: 12, noEllipsis: true}, {title: "NAME", minWidth: 12}, {title: "STATE"}, {title: "TYPE", dropOrder: 3}, {title: "JOB"},
		{title: "NODE", minWidth: 12, noEllipsis: true, dropOrder: 1}, {title: "ATTEMPT", alignRight: true, dropOrder: 2}, {title: "ERROR", minWidth: 8},
	}}
	for _, x := range tasks {
		t.add(text(x.ID), text(taskName(x)), state(x.State), cell{x.Type, faint}, text(x.JobID), text(x.NodeID),
			text(strconv.Itoa(x.Attempt)), cell{x.Error, red})
	}
	return p.printTable(views(tasks, func(t ray.Task) taskView { return taskView(t) }), t, emptyMessage("tasks", len(all.Tasks)))
}

// formatTotal returns the total of a truncated list, which may be unknown.
func formatTotal(total, seen int) string {
	if total > seen {
		return strconv.Itoa(total)
	}
	return "an unknown number of"
}

func taskName(t ray.Task) string {
	if t.Name == "" {
		return t.Func
	}
	return t.Name
}

func getTask(ctx context.Context, from taskGetter, id string, p printer) error {
	t, err := from.Task(ctx, id)
	// Ray returns 400 for an ID that is too short (2.60.0).
	if code := ray.Code(err); code == http.StatusNotFound || code == http.StatusBadRequest {
		list, err2 := from.Tasks(ctx)
		if err2 != nil {
			return err2
		}
		t, err = exactlyOne(list.Tasks, "task attempts", id, err, func(t ray.Task) string { return t.ID })
	}
	if err != nil {
		return err
	}
	return p.print(taskView(t), func() string {
		fn := t.Func
		if fn == t.Name {
			fn = ""
		}
		return renderFields([]field{
			{"Task", text(t.ID)}, {"Name", text(t.Name)}, {"Function", text(fn)}, {"State", state(t.State)}, {"Type", text(t.Type)},
			{"Attempt", text(strconv.Itoa(t.Attempt))}, {"Job", text(t.JobID)}, {"Node", text(t.NodeID)}, {"Actor", text(t.ActorID)},
			{"Error", cell{t.Error, red}},
		}, p.Colors)
	})
}
