package dashboard

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"raytap/ray"
)

// LogFiles lists the log files of the nodes that a selector selects: all that the node
// agents serve, of dead workers and older generations too.
//
// Where an agent cannot be used, or does not answer, the head lists the files. Nodes
// that can be listed in neither way are in LogList.Missing, and so are selected nodes
// that are not ALIVE. The head also lists a directory with more than about 50,000 files,
// in 36 parts. Two nodes of one host can have one log directory: its files are
// listed once, for the first of them.
//
// The files of a job are its driver's log, and those of the workers that run it: by the
// list of live workers, by their names, or, for a worker that was started before the
// job and has ended, by the first line of its file, which costs a small read each. An
// error means that nothing could be listed; an unknown job or application is one of
// code 404. Safe for concurrent use.
func (c *Client) LogFiles(ctx context.Context, s ray.LogSelector) (ray.LogList, error) {
	nodes, err := c.NodeWorkers(ctx)
	if err != nil {
		return ray.LogList{}, err
	}
	owners, err := c.logOwners(ctx, s, nodes)
	if err != nil {
		return ray.LogList{}, err
	}
	out := ray.LogList{Missing: owners.lostDrivers(nodes)}
	nodes = slices.DeleteFunc(nodes, func(n ray.NodeWorkers) bool {
		return !selects(s.Nodes, n.NodeID) && !slices.Contains(s.Nodes, n.IP)
	})
	if len(nodes) == 0 {
		return ray.LogList{}, notFound("list log files", "there is no such node")
	}
	slices.SortStableFunc(nodes, func(a, b ray.NodeWorkers) int {
		return cmp.Or(-cmp.Compare(flag(a.Head), flag(b.Head)), cmp.Compare(a.NodeID, b.NodeID))
	})
	lists := make([]ray.LogList, len(nodes))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i, n := range nodes {
		group.Go(func() error {
			lists[i] = c.nodeLogFiles(groupCtx, n, s)
			return groupCtx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return ray.LogList{}, err
	}
	directories := map[string]string{} // of a name that only one directory can have: its node
	for _, list := range lists {
		out.Missing = append(out.Missing, list.Missing...)
		out.Files = append(out.Files, ownFiles(list.Files, out.Files, directories)...)
	}
	return out, c.selectFiles(ctx, &out, s, owners)
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

// selects reports whether a value begins with one of the prefixes, or there are none.
func selects(prefixes []string, value string) bool {
	for _, p := range prefixes {
		if p != "" && strings.HasPrefix(value, p) {
			return true
		}
	}
	return len(prefixes) == 0
}

// ownFiles returns the files of a node without those that were listed for another node
// with the same directory. directories maps the names of workers' and drivers' logs,
// which no two directories share, to the node that was listed first with them.
func ownFiles(files, listed []ray.LogFile, directories map[string]string) []ray.LogFile {
	same := ""
	for _, f := range files {
		if unique := f.WorkerID != "" || f.SubmissionID != ""; unique && same == "" {
			same = directories[f.Name]
		}
	}
	if same != "" {
		known := map[string]bool{}
		for _, f := range listed {
			if f.NodeID == same {
				known[f.Name] = true
			}
		}
		files = slices.DeleteFunc(files, func(f ray.LogFile) bool { return known[f.Name] })
	}
	for _, f := range files {
		if directories[f.Name] == "" {
			directories[f.Name] = f.NodeID
		}
	}
	return files
}

// logDirectories are the directories, relative to the log directory, that have files of a
// source.
var logDirectories = []struct {
	name    string
	sources []ray.LogSource
}{
	{"", []ray.LogSource{ray.LogDriver, ray.LogWorker, ray.LogSystem}},
	{"old", []ray.LogSource{ray.LogWorker, ray.LogSystem}},
	{"serve", []ray.LogSource{ray.LogServe}},
	{"events", []ray.LogSource{ray.LogEvent}},
}

// nodeLogFiles lists all files of one node.
func (c *Client) nodeLogFiles(ctx context.Context, n ray.NodeWorkers, s ray.LogSelector) ray.LogList {
	var out ray.LogList
	missing := func(dir string, err error) {
		out.Missing = append(out.Missing, ray.MissingLog{NodeID: n.NodeID, Name: dir, Err: err})
	}
	if n.State != ray.NodeAlive {
		if len(s.Nodes) > 0 {
			missing("", errNodeGone)
		}
		return out
	}
	live := map[string]ray.Worker{}
	for _, w := range n.Workers {
		live[w.ID] = w
	}
	agent := logAgent{url: n.AgentURL}
	if agent.url == "" {
		agent.err = notAllowed(ray.ErrAgentAddress, "the address of the node agent is not known yet")
	}
	for _, dir := range logDirectories {
		if len(s.Sources) > 0 && !slices.ContainsFunc(dir.sources, func(source ray.LogSource) bool { return slices.Contains(s.Sources, source) }) {
			continue
		}
		names, cut, err := c.directoryNames(ctx, n.NodeID, &agent, dir.name)
		switch {
		case ray.Code(err) == http.StatusNotFound && dir.name != "":
			continue
		case err != nil:
			missing(dir.name, err)
		case cut:
			missing(dir.name, &ray.Error{Op: "list log files", Code: http.StatusInternalServerError, Detail: fmt.Sprintf("the directory has more than the %d files that are listed", len(names))})
		}
		for _, name := range names {
			f := ray.LogFile{NodeID: n.NodeID, Name: name, LogName: ray.ParseLogName(name)}
			if w := live[f.WorkerID]; f.WorkerID != "" {
				f.ActorID, f.JobID = w.ActorID, cmp.Or(f.JobID, w.JobID)
			}
			out.Files = append(out.Files, f)
		}
	}
	for i := range out.Files {
		out.Files[i].AgentURL, out.Files[i].AgentErr = agent.url, agent.err
	}
	slices.SortStableFunc(out.Files, func(a, b ray.LogFile) int {
		return cmp.Or(cmp.Compare(a.Log, b.Log), cmp.Compare(a.Generation, b.Generation), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// logAgent is the agent of a node; url is "" once it could not be used.
type logAgent struct {
	url string
	err error
}

// directoryNames lists a directory, by way of the head if the agent cannot be used.
func (c *Client) directoryNames(ctx context.Context, nodeID string, agent *logAgent, dir string) (names []string, cut bool, err error) {
	prefix := ""
	if dir != "" {
		prefix = dir + "/"
	}
	if agent.url != "" {
		index, err := c.AgentFileIndex(ctx, agent.url, dir)
		if err == nil || ray.Code(err) == http.StatusNotFound || ctx.Err() != nil {
			for i := range index.Names {
				index.Names[i] = prefix + index.Names[i]
			}
			if index.Truncated {
				if rest, err := c.partNames(ctx, nodeID, prefix); err == nil {
					return rest, false, nil
				}
			}
			return index.Names, index.Truncated, err
		}
		agent.url, agent.err = "", err
	}
	names, err = c.HeadFileNames(ctx, nodeID, prefix+"*")
	if err != nil {
		err = agent.err // it says what to do
	}
	return names, false, err
}

// partNames lists a directory whose index is too long, by way of the head and in parts:
// narrow patterns are cheap there (24 ms with 10,000 files), while one for more than about
// 49,000 names fails (2.60.0).
func (c *Client) partNames(ctx context.Context, nodeID, prefix string) ([]string, error) {
	patterns := []string{"[!pw]*", "p[!y]*", "python-core-[!w]*", "w[!o]*"}
	for _, digit := range "0123456789abcdef" {
		patterns = append(patterns, "worker-"+string(digit)+"*", "python-core-worker-"+string(digit)+"*")
	}
	var names []string
	for _, pattern := range patterns {
		part, err := c.HeadFileNames(ctx, nodeID, prefix+pattern)
		if err != nil {
			return nil, err
		}
		names = append(names, part...)
	}
	return names, nil
}

// LogFileStat returns the size and the time of a listed file. Where no agent can be used
// the error has code 501: the head does not report them. Safe for concurrent use.
func (c *Client) LogFileStat(ctx context.Context, f ray.LogFile) (ray.FileStat, error) {
	if f.AgentURL == "" {
		return ray.FileStat{}, &ray.Error{Op: opFileStat, Code: http.StatusNotImplemented, Detail: "only node agents report the size of a file", Err: f.AgentErr}
	}
	return c.AgentFileStat(ctx, f.AgentURL, f.Name)
}

// LogFile reads a listed file, like AgentFile. Where no agent can be used the head reads
// the whole file, whatever the range, and its size is -1. Safe for concurrent use.
func (c *Client) LogFile(ctx context.Context, f ray.LogFile, from, to int64) (ray.FilePart, error) {
	if f.AgentURL != "" {
		return c.AgentFile(ctx, f.AgentURL, f.Name, from, to)
	}
	body, err := c.HeadFile(ctx, f.NodeID, f.Name, 0)
	return ray.FilePart{Body: body, FileStat: ray.FileStat{Size: -1}}, err
}

// firstLine returns the start of the first line of a file, at most 256 bytes.
func (c *Client) firstLine(ctx context.Context, f ray.LogFile) (string, error) {
	if f.AgentURL == "" {
		return "", nil // not worth a whole file by way of the head
	}
	part, err := c.AgentFile(ctx, f.AgentURL, f.Name, 0, 256)
	if err != nil {
		return "", err
	}
	defer part.Body.Close()
	text, err := io.ReadAll(io.LimitReader(part.Body, 256))
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimSuffix(line, "\r"), err
}
