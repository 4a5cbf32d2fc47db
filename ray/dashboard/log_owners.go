package dashboard

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"raytap/ray"
)

// logOwners are the jobs, actors and applications that a selector names, as what can be
// found in a file's name.
type logOwners struct {
	byJob       bool
	submissions map[string]bool
	drivers     []ray.LogRef // of them, with the node that each ran on
	jobs        map[string]bool
	workersOf   map[string]string // job ids of live workers, "" for one that has none yet
	byWorker    bool              // by actor or application
	workers     map[string]bool
	processes   map[process]bool
	replicas    []string // prefixes of the names of their files
}

// process is a process of a node. Its pid may have been another's before.
type process struct {
	node string
	pid  int
}

// logOwners resolves the jobs, actors and applications of a selector.
func (c *Client) logOwners(ctx context.Context, s ray.LogSelector, nodes []ray.NodeWorkers) (*logOwners, error) {
	o := &logOwners{
		byJob: len(s.Jobs) > 0, byWorker: len(s.Actors)+len(s.Applications) > 0,
		submissions: map[string]bool{}, jobs: map[string]bool{}, workersOf: map[string]string{},
		workers: map[string]bool{}, processes: map[process]bool{},
	}
	alive := map[string]bool{}
	for _, n := range nodes {
		for _, w := range n.Workers {
			o.workersOf[w.ID] = w.JobID
			if len(s.Actors) > 0 && selects(s.Actors, w.ActorID) {
				o.workers[w.ID] = true
				alive[w.ActorID] = true
			}
		}
	}
	if err := c.addJobs(ctx, s.Jobs, o); err != nil {
		return nil, err
	}
	if err := c.addActors(ctx, s.Actors, o); err != nil {
		return nil, err
	}
	for _, id := range s.Actors {
		if len(id) == actorIDLength {
			alive[id] = true
		}
	}
	for id := range alive {
		if err := c.addActorTasks(ctx, id, o); err != nil {
			return nil, err
		}
	}
	return o, c.addApplications(ctx, s.Applications, o)
}

func (c *Client) addJobs(ctx context.Context, ids []string, o *logOwners) error {
	if len(ids) == 0 {
		return nil
	}
	list, err := c.Jobs(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		found := false
		for _, j := range list {
			if j.SubmissionID != id && j.JobID != id || id == "" {
				continue
			}
			found = true
			if j.SubmissionID != "" {
				o.submissions[j.SubmissionID] = true
				o.drivers = append(o.drivers, j.LogRef())
			}
			if j.JobID != "" {
				o.jobs[j.JobID] = true
			}
		}
		if !found {
			return notFound("list log files", fmt.Sprintf("there is no job %.100q", id))
		}
	}
	return nil
}

// actorIDLength is the number of hex digits of an actor's id.
const actorIDLength = 32

// addActors adds the processes of actors, also of dead ones that Ray still lists.
func (c *Client) addActors(ctx context.Context, ids []string, o *logOwners) error {
	for _, id := range ids {
		if len(id) != actorIDLength { // Ray filters by whole ids only
			continue
		}
		_, err := stateRows(ctx, c, "get actor", "actors", listQuery(1, filter{"actor_id", "=", id}), func(row struct {
			Node string `json:"node_id"`
			PID  number `json:"pid"`
		}) bool {
			if pid, ok := row.PID.count(); ok && pid > 0 && row.Node != "" {
				o.processes[process{row.Node, pid}] = true
			}
			return true
		})
		if err != nil {
			return err
		}
	}
	if len(ids) > 0 && len(o.workers)+len(o.processes) == 0 {
		return notFound("list log files", "there is no actor of such an id: one that has ended must be given its whole id")
	}
	return nil
}

// addActorTasks adds the workers that have run the tasks of an actor, also before it was
// restarted. Ray keeps a limited number of tasks.
func (c *Client) addActorTasks(ctx context.Context, id string, o *logOwners) error {
	_, err := stateRows(ctx, c, "list tasks of actor", "tasks", listQuery(maxRows, filter{"actor_id", "=", id}), func(row struct {
		Worker string `json:"worker_id"`
	}) bool {
		if row.Worker != "" {
			o.workers[row.Worker] = true
		}
		return true
	})
	return err
}

func (c *Client) addApplications(ctx context.Context, names []string, o *logOwners) error {
	if len(names) == 0 {
		return nil
	}
	found := map[string]bool{}
	err := c.eachReplica(ctx, func(application string, rows []replicaRow) {
		if !slices.Contains(names, application) {
			return
		}
		found[application] = true
		for _, r := range rows {
			if pid, ok := r.PID.count(); ok && pid > 0 {
				o.processes[process{r.Node, pid}] = true
			}
			o.workers[r.Worker] = r.Worker != ""
		}
	})
	if err != nil {
		return err
	}
	for _, name := range names {
		if !found[name] {
			return notFound("list log files", fmt.Sprintf("there is no application %.100q", name))
		}
		// Of dead replicas, too. Ray 2.9.3 on Python 3.11 writes the second form.
		o.replicas = append(o.replicas, "serve/replica_"+name+"_", "serve/ServeComponentType.REPLICA_"+name+"_")
	}
	return nil
}

// lostDrivers returns the drivers' logs that are on nodes that are gone.
func (o *logOwners) lostDrivers(nodes []ray.NodeWorkers) (lost []ray.MissingLog) {
	for _, ref := range o.drivers {
		alive := func(n ray.NodeWorkers) bool { return n.NodeID == ref.NodeID && n.State == ray.NodeAlive }
		if ref.NodeID != "" && !slices.ContainsFunc(nodes, alive) {
			lost = append(lost, ray.MissingLog{NodeID: ref.NodeID, Name: logFile(ref.SubmissionID), Err: errNodeGone})
		}
	}
	return lost
}

// errNodeGone is the error for the files of a node that is not alive.
var errNodeGone = &ray.Error{Op: "list log files", Code: http.StatusServiceUnavailable, Detail: "the node is not alive: its files cannot be read"}

// selectFiles removes the files that do not match a selector.
func (c *Client) selectFiles(ctx context.Context, list *ray.LogList, s ray.LogSelector, o *logOwners) (err error) {
	list.Files = slices.DeleteFunc(list.Files, func(f ray.LogFile) bool {
		return len(s.Sources) > 0 && !slices.Contains(s.Sources, f.Source) ||
			len(s.Workers) > 0 && (f.WorkerID == "" || !selects(s.Workers, f.WorkerID)) ||
			s.Match != nil && !s.Match(f.Name) || o.byWorker && !o.hasProcess(f)
	})
	if !o.byJob || len(o.jobs) == 0 {
		list.Files = slices.DeleteFunc(list.Files, func(f ray.LogFile) bool { return o.byJob && !o.submissions[f.SubmissionID] })
		return nil
	}
	if list.UnknownWorkers, err = c.readJobs(ctx, list.Files, o); err != nil {
		return err
	}
	list.Files = slices.DeleteFunc(list.Files, func(f ray.LogFile) bool {
		return !o.submissions[f.SubmissionID] && (f.WorkerID == "" || !o.jobs[o.workersOf[f.WorkerID]])
	})
	for i := range list.Files {
		if f := &list.Files[i]; f.WorkerID != "" {
			f.JobID = o.workersOf[f.WorkerID]
		}
	}
	return nil
}

func (o *logOwners) hasProcess(f ray.LogFile) bool {
	return o.workers[f.WorkerID] || f.PID > 0 && f.WorkerID != "" && o.processes[process{f.NodeID, f.PID}] ||
		slices.ContainsFunc(o.replicas, func(prefix string) bool { return strings.HasPrefix(f.Log, prefix) })
}

// jobMarker begins the first line of a worker's file (the same from 2.9.3 to 2.60.0).
const jobMarker = ":job_id:"

// readJobs finds the jobs of workers that neither the list of live workers nor their
// files' names state: they were started before their job. It returns how many have
// lines but no job: the first ones were deleted by rotations.
func (c *Client) readJobs(ctx context.Context, files []ray.LogFile, o *logOwners) (unknown int, err error) {
	for _, f := range files {
		if f.JobID != "" && o.workersOf[f.WorkerID] == "" {
			o.workersOf[f.WorkerID] = f.JobID
		}
	}
	oldest := map[string]map[string]ray.LogFile{} // by worker and log: only the first generation has the line
	for _, f := range files {
		if f.Source != ray.LogWorker || o.workersOf[f.WorkerID] != "" {
			continue
		}
		if oldest[f.WorkerID] == nil {
			oldest[f.WorkerID] = map[string]ray.LogFile{}
		}
		if best, ok := oldest[f.WorkerID][f.Log]; !ok || f.Generation > best.Generation {
			oldest[f.WorkerID][f.Log] = f
		}
	}
	var mu sync.Mutex
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for worker, logs := range oldest {
		group.Go(func() error {
			job, hasLines := c.jobOf(groupCtx, logs)
			mu.Lock()
			defer mu.Unlock()
			if o.workersOf[worker] = job; job == "" && hasLines {
				unknown++
			}
			return groupCtx.Err()
		})
	}
	err = group.Wait()
	return unknown, err
}

// jobOf returns the job that the first line of one of a worker's logs states. hasLines: a
// log has a line.
func (c *Client) jobOf(ctx context.Context, logs map[string]ray.LogFile) (job string, hasLines bool) {
	for _, f := range logs {
		line, err := c.firstLine(ctx, f)
		if job, ok := strings.CutPrefix(line, jobMarker); ok && err == nil {
			return job, true
		}
		hasLines = hasLines || line != "" || err != nil
	}
	return "", hasLines
}
