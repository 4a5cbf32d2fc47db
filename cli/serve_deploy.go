package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"raytap/ray"
)

type applicationDeployer interface {
	serveLister
	PlanServe(ctx context.Context, config []byte) (ray.ServePlan, error)
	DeployServe(ctx context.Context, config []byte) error
}

const (
	// deployPoll is the interval at which applications that are being deployed are polled.
	deployPoll = time.Second
	// maxServeConfig is the maximum size of a configuration in bytes.
	maxServeConfig = 16 << 20
)

// deployOptions are the flags of serve deploy.
type deployOptions struct {
	file    string        // "-" is standard input
	yes     bool          // without a confirmation
	dryRun  bool          // only show what would change
	wait    bool          // until all applications are running
	timeout time.Duration // of wait; 0 is no limit
}

// deployApplications shows what a configuration changes, asks for confirmation, and
// deploys it.
func deployApplications(ctx context.Context, c applicationDeployer, o deployOptions, p printer) error {
	config, err := readServeConfig(o.file, p.In)
	if err != nil {
		return err
	}
	plan, err := c.PlanServe(ctx, config)
	if err != nil {
		return err
	}
	if err := showPlan(plan, p); err != nil || o.dryRun {
		return err
	}
	var before ray.ServeStatus
	if o.wait {
		if before, err = c.Serve(ctx); err != nil {
			return err
		}
	}
	if err := p.confirm(ctx, planQuestion(plan), o.yes); err != nil {
		return err
	}
	if err := c.DeployServe(ctx, config); err != nil {
		return err
	}
	if !o.wait {
		p.infof("configuration accepted; Ray is deploying the applications")
		return nil
	}
	return waitForDeployment(ctx, c, plan, before, o.timeout, p.Console)
}

// readServeConfig reads a configuration and returns it as JSON.
func readServeConfig(file string, stdin io.Reader) ([]byte, error) {
	in, name := stdin, "standard input"
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, &UsageError{err.Error()}
		}
		defer f.Close()
		in, name = f, file
	}
	b, err := io.ReadAll(io.LimitReader(in, maxServeConfig+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", name, err)
	case len(b) > maxServeConfig:
		return nil, usagef("%s is larger than 16 MiB: is it a Serve configuration?", name)
	case json.Valid(b):
		return b, nil
	}
	var doc any
	dec := yaml.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(&doc); err != nil {
		return nil, usagef("%s is neither YAML nor JSON: %v", name, err)
	}
	if err := dec.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, usagef("%s contains more than one YAML document", name)
	}
	out, err := json.Marshal(doc)
	if err != nil {
		return nil, usagef("%s contains a value that JSON cannot express: %v", name, err)
	}
	return out, nil
}

func showPlan(plan ray.ServePlan, p printer) error {
	t := &table{columns: []column{{title: "APPLICATION"}, {title: "ACTION"}, {title: "DETAIL", minWidth: 10, dropOrder: 1}}}
	for _, c := range plan.Changes {
		t.add(text(c.Name), text(c.Action), text(planDetail(c)))
	}
	if err := p.printTable(viewPlan(plan), t, "the configuration has no applications, and none are deployed"); err != nil {
		return err
	}
	if p.format == formatTable {
		for _, note := range plan.Notes {
			p.infof("%s", printable(note, true))
		}
	}
	return nil
}

func planDetail(c ray.ServePlanned) string {
	switch c.Action {
	case ray.ServeTakeOver:
		return "deployed by code (serve.run); the configuration takes it over"
	case ray.ServeKeep:
		return "deployed by code (serve.run)"
	case ray.ServeRemove:
		return "not in the configuration"
	}
	detail := strings.Join(c.Fields, ", ")
	if c.Hidden {
		detail = strings.TrimPrefix(detail+"; parts hidden by Ray are not compared", "; ")
	}
	return detail
}

// planQuestion returns the question for confirmation: it names the removed applications and counts the others.
func planQuestion(plan ray.ServePlan) string {
	var parts []string
	for _, action := range ray.ServeActions {
		var names []string
		for _, c := range plan.Changes {
			if c.Action == action {
				names = append(names, printable(c.Name, true))
			}
		}
		switch {
		case len(names) == 0 || action == ray.ServeKeep:
		case action == ray.ServeRemove:
			parts = append(parts, "remove "+strings.Join(names, ", "))
		default:
			parts = append(parts, fmt.Sprintf("%s %d", strings.ReplaceAll(action, "_", " "), len(names)))
		}
	}
	if len(parts) == 0 {
		return "Deploy a configuration without applications?"
	}
	return "Deploy this configuration (" + strings.Join(parts, "; ") + ")?"
}

// waitForDeployment polls until the applications of the plan are running and those
// that it removes are gone. It returns an error with Ray's message if Ray could not
// deploy one, and retries temporary errors.
func waitForDeployment(ctx context.Context, c serveLister, plan ray.ServePlan, before ray.ServeStatus, timeout time.Duration, console Console) error {
	old := map[string]time.Time{}
	for _, a := range before.Applications {
		old[a.Name] = a.LastDeployed
	}
	var pending []string
	err := poll(ctx, deployPoll, timeout, func(ctx context.Context) (bool, error) {
		now, err := c.Serve(ctx)
		if err != nil {
			return false, err
		}
		pending, err = pendingChanges(plan, now, old)
		return len(pending) == 0, err
	})
	switch {
	case errors.Is(err, errPollTimeout):
		return fmt.Errorf("configuration accepted, but not deployed within %s (--timeout): %s", timeout, strings.Join(pending, ", "))
	case err != nil:
		return err
	}
	console.infof("all applications are running")
	return nil
}

// pendingChanges returns what is not done yet of a plan, or an error for a failed
// deployment. It ignores the status of an earlier deployment, which has another time.
func pendingChanges(plan ray.ServePlan, now ray.ServeStatus, old map[string]time.Time) (pending []string, err error) {
	for _, c := range plan.Changes {
		if c.Action == ray.ServeKeep {
			continue
		}
		name := printable(c.Name, true)
		i := slices.IndexFunc(now.Applications, func(a ray.ServeApplication) bool { return a.Name == c.Name })
		switch {
		case i < 0 && c.Action == ray.ServeRemove:
		case i < 0:
			pending = append(pending, name+" does not exist yet")
		case c.Action != ray.ServeRemove && !old[c.Name].IsZero() && now.Applications[i].LastDeployed.Equal(old[c.Name]):
			pending = append(pending, name+" is not redeployed yet")
		case c.Action != ray.ServeRemove && now.Applications[i].Status == "RUNNING":
		case c.Action != ray.ServeRemove && now.Applications[i].Status == "DEPLOY_FAILED":
			return nil, fmt.Errorf("application %s: DEPLOY_FAILED: %s", name, printable(failureMessage(now.Applications[i]), false))
		default:
			pending = append(pending, name+" is "+now.Applications[i].Status)
		}
	}
	return pending, nil
}

// failureMessage returns Ray's messages about an application that it could not
// deploy. The application's message only names deployments; their messages have the
// cause (2.60.0).
func failureMessage(a ray.ServeApplication) string {
	messages := []string{strings.TrimSpace(a.Message)}
	for _, d := range a.Deployments {
		if d.Status != "HEALTHY" && d.Message != "" {
			messages = append(messages, d.Name+": "+strings.TrimSpace(d.Message))
		}
	}
	return strings.Join(messages, "\n")
}
