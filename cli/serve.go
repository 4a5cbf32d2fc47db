package cli

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"raytap/ray"
)

type serveLister interface {
	Serve(ctx context.Context) (ray.ServeStatus, error)
}

type applicationGetter interface {
	ServeApplication(ctx context.Context, name string) (ray.ServeApplication, error)
}

type applicationDeleter interface {
	applicationGetter
	DeleteServeApplication(ctx context.Context, name string) error
}

type serveFilter struct {
	statuses, names []string
	limit           int
}

// listApplications lists Serve applications.
func listApplications(ctx context.Context, from serveLister, f serveFilter, p printer) error {
	if err := checkPatterns("name", f.names); err != nil {
		return err
	}
	s, err := from.Serve(ctx)
	if err != nil {
		return err
	}
	var apps []ray.ServeApplication
	for _, a := range s.Applications {
		if containsFold(f.statuses, a.Status) && matchesAny(a.Name, f.names) {
			apps = append(apps, a)
		}
	}
	apps = limitRows(p.Console, apps, f.limit, "applications")
	t := &table{columns: []column{
		{title: "NAME"}, {title: "STATUS"}, {title: "ROUTE"}, {title: "DEPLOYMENTS", alignRight: true, dropOrder: 3}, {title: "REPLICAS", alignRight: true},
		{title: "DEPLOYED", dropOrder: 2}, {title: "MESSAGE", minWidth: 10, dropOrder: 1},
	}}
	for _, a := range apps {
		t.add(text(a.Name), state(a.Status), text(a.RoutePrefix), text(strconv.Itoa(len(a.Deployments))), text(replicas(a.Deployments...)),
			text(formatAge(p.now(), a.LastDeployed)), text(lastLine(a.Message)))
	}
	empty := emptyMessage("applications", len(s.Applications))
	if !s.Running {
		empty = "Serve is not running on this cluster"
	}
	return p.printTable(views(apps, viewApplication), t, empty)
}

// replicas returns the number of running replicas and the target, as in "2/3". For an
// API without replica states it counts all replicas.
func replicas(deployments ...ray.ServeDeployment) string {
	running, target, hasTarget := 0, 0, len(deployments) > 0
	for _, d := range deployments {
		if len(d.Replicas) == 0 && d.ReplicaCount != nil {
			running += *d.ReplicaCount
		}
		running += d.Replicas["RUNNING"]
		if d.TargetReplicas == nil {
			hasTarget = false
			continue
		}
		target += *d.TargetReplicas
	}
	switch {
	case hasTarget:
		return strconv.Itoa(running) + "/" + strconv.Itoa(target)
	case len(deployments) > 0:
		return strconv.Itoa(running)
	}
	return ""
}

// lastLine returns the last line of a message, which of a traceback is the error.
func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return strings.TrimSpace(s[strings.LastIndexByte(s, '\n')+1:])
}

func getApplication(ctx context.Context, from applicationGetter, name string, p printer) error {
	a, err := from.ServeApplication(ctx, name)
	if err != nil {
		return err
	}
	return p.print(viewApplication(a), func() string {
		head := renderFields([]field{
			{"Application", text(a.Name)}, {"Status", state(a.Status)}, {"Route", text(a.RoutePrefix)}, {"Docs", text(a.DocsPath)},
			{"Source", text(a.Source)}, {"Deployed", text(formatTime(p.now(), a.LastDeployed))}, {"Message", text(a.Message)},
		}, p.Colors)
		t := &table{columns: []column{
			{title: "DEPLOYMENT"}, {title: "STATUS"}, {title: "REPLICAS", alignRight: true}, {title: "BY STATE"},
			{title: "DIED", alignRight: true, dropOrder: 2}, {title: "MESSAGE", minWidth: 10, dropOrder: 1},
		}}
		for _, d := range a.Deployments {
			var by []string
			for _, s := range slices.Sorted(maps.Keys(d.Replicas)) {
				by = append(by, strconv.Itoa(d.Replicas[s])+" "+s)
			}
			died := ""
			if d.DeadReplicas != nil {
				died = strconv.Itoa(*d.DeadReplicas)
			}
			t.add(text(d.Name), state(d.Status), text(replicas(d)), text(strings.Join(by, ", ")), text(died), text(lastLine(d.Message)))
		}
		if len(t.rows) == 0 {
			return head
		}
		return head + "\n" + t.render(p.Width, p.Colors)
	})
}

// deleteApplication deletes one application after a confirmation. It returns before
// the application is gone.
func deleteApplication(ctx context.Context, c applicationDeleter, name string, yes bool, console Console) error {
	a, err := c.ServeApplication(ctx, name)
	if err != nil {
		return err
	}
	question := "Delete the Serve application " + printable(a.Name, true) + " (" + a.Status
	if r := replicas(a.Deployments...); r != "" {
		question += ", " + r + " replicas running"
	}
	if err := console.confirm(ctx, question+")?", yes); err != nil {
		return err
	}
	if err := c.DeleteServeApplication(ctx, a.Name); err != nil {
		return err
	}
	console.infof("deleting application %s", printable(a.Name, true))
	return nil
}
