package cli

import (
	"context"
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

// listApplications lists Serve's applications by name.
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
		if oneOf(a.Status, f.statuses) && like(a.Name, f.names) {
			apps = append(apps, a)
		}
	}
	apps = cut(p.Console, apps, f.limit, "applications")
	t := &table{columns: []column{
		{title: "NAME"}, {title: "STATUS"}, {title: "ROUTE"}, {title: "DEPLOYMENTS", right: true, spare: 3}, {title: "REPLICAS", right: true},
		{title: "DEPLOYED", spare: 2}, {title: "MESSAGE", least: 10, spare: 1},
	}}
	for _, a := range apps {
		t.add(text(a.Name), state(a.Status), text(a.RoutePrefix), text(strconv.Itoa(len(a.Deployments))), text(replicas(a.Deployments...)),
			text(ago(p.now(), a.LastDeployed)), text(lastLine(a.Message)))
	}
	nothing := none("applications", len(s.Applications))
	if !s.Running {
		nothing = "Serve does not run on this cluster"
	}
	return p.rows(views(apps, viewApplication), t, nothing)
}

// replicas says how many replicas run (where only their number is told: are
// there), and how many should.
func replicas(deployments ...ray.ServeDeployment) string {
	running, target, told := 0, 0, len(deployments) > 0
	for _, d := range deployments {
		if len(d.Replicas) == 0 && d.ReplicaCount != nil {
			running += *d.ReplicaCount
		}
		running += d.Replicas["RUNNING"]
		if d.TargetReplicas == nil {
			told = false
			continue
		}
		target += *d.TargetReplicas
	}
	switch {
	case told:
		return strconv.Itoa(running) + "/" + strconv.Itoa(target)
	case len(deployments) > 0:
		return strconv.Itoa(running)
	}
	return ""
}

// lastLine is what a traceback comes to.
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
		head := facts([]fact{
			{"Application", text(a.Name)}, {"Status", state(a.Status)}, {"Route", text(a.RoutePrefix)}, {"Docs", text(a.DocsPath)},
			{"Source", text(a.Source)}, {"Deployed", text(stamp(p.now(), a.LastDeployed))}, {"Message", text(a.Message)},
		}, p.Colors)
		t := &table{columns: []column{
			{title: "DEPLOYMENT"}, {title: "STATUS"}, {title: "REPLICAS", right: true}, {title: "BY STATE"},
			{title: "DIED", right: true, spare: 2}, {title: "MESSAGE", least: 10, spare: 1},
		}}
		for _, d := range a.Deployments {
			var by []string
			for _, s := range sortedKeys(d.Replicas) {
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

// deleteApplication deletes one application, after a question. The cluster
// takes it down after the answer.
func deleteApplication(ctx context.Context, c applicationDeleter, name string, yes bool, console Console) error {
	a, err := c.ServeApplication(ctx, name)
	if err != nil {
		return err
	}
	question := "Delete the Serve application " + printable(a.Name, true) + " (" + a.Status
	if r := replicas(a.Deployments...); r != "" {
		question += ", " + r + " replicas run"
	}
	if err := console.confirm(ctx, question+")?", yes); err != nil {
		return err
	}
	if err := c.DeleteServeApplication(ctx, a.Name); err != nil {
		return err
	}
	console.notef("the application %s is being deleted", printable(a.Name, true))
	return nil
}
