package cli

import (
	"cmp"
	"context"
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

// jobFilter says which jobs are listed; the zero value is all.
type jobFilter struct {
	statuses, types, names []string
	limit                  int
}

// listJobs lists jobs, the last submitted first.
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
		if oneOf(string(j.Status), f.statuses) && oneOf(string(j.Type), f.types) && like(j.Name(), f.names) {
			jobs = append(jobs, j)
		}
	}
	slices.SortStableFunc(jobs, func(a, b ray.Job) int {
		return cmp.Or(b.Start.Compare(a.Start), cmp.Compare(a.Key(), b.Key()))
	})
	jobs = cut(p.Console, jobs, f.limit, "jobs")
	t := &table{columns: []column{
		{title: "ID"}, {title: "NAME", least: 12}, {title: "TYPE", spare: 4}, {title: "STATUS"}, {title: "SUBMITTED"}, {title: "DURATION", right: true, spare: 2},
		{title: "EXIT", right: true, spare: 1}, {title: "ENTRYPOINT", least: 10, spare: 3},
	}}
	now := p.now()
	for _, j := range jobs {
		t.add(text(j.Key()), text(j.Name()), cell{string(j.Type), faint}, state(string(j.Status)), text(ago(now, j.Start)),
			text(jobDuration(now, j)), exitCell(j), text(j.Entrypoint))
	}
	return p.rows(views(jobs, viewJob), t, none("jobs", len(all)))
}

// none tells why a list is empty.
func none(what string, before int) string {
	if before > 0 {
		return "no " + what + " match, of " + strconv.Itoa(before)
	}
	return "there are no " + what
}

// jobDuration is the time from a job's submission to its end, or until now.
func jobDuration(now time.Time, j ray.Job) string {
	switch {
	case j.Start.IsZero():
		return ""
	case !j.End.IsZero():
		return lasting(j.End.Sub(j.Start))
	case j.Status.Terminal():
		return ""
	}
	return lasting(max(now.Sub(j.Start), 0))
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
		list := []fact{
			{"Submission", text(j.SubmissionID)}, {"Job", text(j.JobID)}, {"Name", text(j.Name())},
			{"Type", text(string(j.Type))}, {"Status", state(string(j.Status))},
			{"Submitted", text(stamp(now, j.Start))}, {"Ended", text(stamp(now, j.End))}, {"Duration", text(jobDuration(now, j))},
			{"Exit code", exitCell(j)}, {"Error", cell{j.ErrorType, red}}, {"Entrypoint", text(j.Entrypoint)},
			{"Driver's node", text(j.DriverNodeID)}, {"Node agent", text(j.DriverAgentURL)},
		}
		for _, key := range sortedKeys(j.Metadata) {
			list = append(list, fact{"Metadata " + key, text(j.Metadata[key])})
		}
		return facts(append(list, fact{"Message", text(j.Message)}), p.Colors)
	})
}
