package cli

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"
	"time"

	"raytap/ray"
)

type jobLister interface {
	Jobs(ctx context.Context) ([]ray.Job, error)
}

type jobGetter interface {
	Job(ctx context.Context, id string) (ray.Job, error)
}

// jobFilter selects the jobs to list; the zero value selects all.
type jobFilter struct {
	statuses, types, names []string
	limit                  int
}

// listJobs lists jobs, most recently submitted first.
func listJobs(ctx context.Context, from jobLister, f jobFilter, p printer) error {
	if err := checkPatterns("name", f.names); err != nil {
		return err
	}
	all, err := from.Jobs(ctx)
	if err != nil {
		return err
	}
	var jobs []ray.Job
	for _, j := range all {
		if containsFold(f.statuses, string(j.Status)) && containsFold(f.types, string(j.Type)) && matchesAny(j.Name(), f.names) {
			jobs = append(jobs, j)
		}
	}
	slices.SortStableFunc(jobs, func(a, b ray.Job) int {
		return cmp.Or(b.Start.Compare(a.Start), cmp.Compare(a.Key(), b.Key()))
	})
	jobs = limitRows(p.Console, jobs, f.limit, "jobs")
	t := &table{columns: []column{
		{title: "ID"}, {title: "NAME", minWidth: 12}, {title: "TYPE", dropOrder: 4}, {title: "STATUS"}, {title: "SUBMITTED"}, {title: "DURATION", alignRight: true, dropOrder: 2},
		{title: "EXIT", alignRight: true, dropOrder: 1}, {title: "ENTRYPOINT", minWidth: 10, dropOrder: 3},
	}}
	now := p.now()
	for _, j := range jobs {
		t.add(text(j.Key()), text(j.Name()), cell{string(j.Type), faint}, state(string(j.Status)), text(formatAge(now, j.Start)),
			text(jobDuration(now, j)), exitCell(j), text(j.Entrypoint))
	}
	return p.printTable(views(jobs, viewJob), t, emptyMessage("jobs", len(all)))
}

// emptyMessage returns why a list is empty; total is its length before filtering.
func emptyMessage(what string, total int) string {
	if total > 0 {
		return "no " + what + " match (" + strconv.Itoa(total) + " in total)"
	}
	return "no " + what
}

// jobDuration returns the time from a job's submission to its end, or until now; "" if unknown.
func jobDuration(now time.Time, j ray.Job) string {
	switch {
	case j.Start.IsZero():
		return ""
	case !j.End.IsZero():
		return formatDuration(j.End.Sub(j.Start))
	case j.Status.Terminal():
		return ""
	}
	return formatDuration(max(now.Sub(j.Start), 0))
}

func exitCell(j ray.Job) cell {
	if j.DriverExitCode == nil {
		return cell{}
	}
	c := text(strconv.Itoa(*j.DriverExitCode))
	if *j.DriverExitCode != 0 {
		c.style = red
	}
	return c
}

func getJob(ctx context.Context, from jobGetter, id string, p printer) error {
	j, err := from.Job(ctx, id)
	if err != nil {
		return err
	}
	return p.print(viewJob(j), func() string {
		now := p.now()
		list := []field{
			{"Submission", text(j.SubmissionID)}, {"Job", text(j.JobID)}, {"Name", text(j.Name())},
			{"Type", text(string(j.Type))}, {"Status", state(string(j.Status))},
			{"Submitted", text(formatTime(now, j.Start))}, {"Ended", text(formatTime(now, j.End))}, {"Duration", text(jobDuration(now, j))},
			{"Exit code", exitCell(j)}, {"Error", cell{j.ErrorType, red}}, {"Entrypoint", text(j.Entrypoint)},
			{"Driver node", text(j.DriverNodeID)}, {"Node agent", text(j.DriverAgentURL)},
		}
		for _, key := range slices.Sorted(maps.Keys(j.Metadata)) {
			list = append(list, field{"Metadata " + key, text(j.Metadata[key])})
		}
		return renderFields(append(list, field{"Message", text(j.Message)}), p.Colors)
	})
}
