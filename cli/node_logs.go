package cli

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"raytap/ray"
)

// nodeLogs is a cluster whose nodes' log files can be read.
type nodeLogs interface {
	LogFiles(ctx context.Context, s ray.LogSelector) (ray.LogList, error)
	LogFile(ctx context.Context, f ray.LogFile, from, to int64) (ray.FilePart, error)
	LogFileStat(ctx context.Context, f ray.LogFile) (ray.FileStat, error)
}

// nodeLogsOf returns the log files of a cluster's nodes, or an error of code 501 if its
// API does not have them.
func nodeLogsOf(cluster any) (nodeLogs, error) {
	if from, ok := cluster.(nodeLogs); ok {
		return from, nil
	}
	return nil, &ray.Error{Op: "list log files", Code: http.StatusNotImplemented, Detail: "this API does not have the log files of nodes"}
}

// logSelection are the flags that select log files.
type logSelection struct {
	s       ray.LogSelector
	sources []string
	files   []string
}

// selector returns the selector of the flags.
func (l *logSelection) selector() (ray.LogSelector, error) {
	s := l.s
	if err := checkPatterns("file", l.files); err != nil {
		return s, err
	}
	for _, source := range l.sources {
		s.Sources = append(s.Sources, ray.LogSource(source))
	}
	if len(l.files) > 0 {
		s.Match = func(name string) bool { return matchesLog(name, l.files) }
	}
	return s, nil
}

// matchesLog reports whether a name matches one of the patterns: as a whole, without its
// directory, or without its generation.
func matchesLog(name string, patterns []string) bool {
	log := ray.ParseLogName(name).Log
	return matchesAny(name, patterns) || matchesAny(name[strings.LastIndexByte(name, '/')+1:], patterns) ||
		matchesAny(log, patterns) || matchesAny(log[strings.LastIndexByte(log, '/')+1:], patterns)
}

// empty reports whether everything is selected.
func (l *logSelection) empty() bool {
	return len(l.s.Nodes)+len(l.s.Workers)+len(l.s.Actors)+len(l.s.Jobs)+len(l.s.Applications)+len(l.sources)+len(l.files) == 0
}

// find lists the selected files.
func (l *logSelection) find(ctx context.Context, from nodeLogs) (ray.LogList, error) {
	s, err := l.selector()
	if err != nil {
		return ray.LogList{}, err
	}
	return from.LogFiles(ctx, s)
}

// noteMissing prints what could not be listed.
func noteMissing(list ray.LogList, console Console) {
	for _, m := range list.Missing {
		console.infof("%s", missingText(m))
	}
	noteUnknown(list, console)
}

func noteUnknown(list ray.LogList, console Console) {
	if n := list.UnknownWorkers; n > 0 {
		console.infof("not selected: the logs of %d workers whose job is not known, because the first lines were deleted by rotations", n)
	}
}

// missingText says which file or directory could not be read, and why.
func missingText(m ray.MissingLog) string {
	what := "files of node " + shortID(m.NodeID)
	if m.Name != "" {
		what = m.Name + " of node " + shortID(m.NodeID)
	}
	return printable(fmt.Sprintf("%s: %s", what, ErrorMessage(m.Err)), true)
}

// shortID is how nodes are shown, and how collected directories are named.
func shortID(id string) string { return id[:min(len(id), 12)] }

// maxStats is the number of files whose sizes are requested.
const maxStats = 2000

// listLogs lists log files with their sizes.
func listLogs(ctx context.Context, from nodeLogs, sel *logSelection, limit int, p printer) error {
	list, err := sel.find(ctx, from)
	if err != nil {
		return err
	}
	noteMissing(list, p.Console)
	files := limitRows(p.Console, list.Files, limit, "files")
	if len(files) <= maxStats {
		files, err = withStats(ctx, from, files)
		if err != nil {
			return err
		}
	} else {
		p.infof("sizes are omitted for more than %d files: select fewer files, or use --limit", maxStats)
	}
	t := &table{columns: []column{
		{title: "NODE", noEllipsis: true}, {title: "SOURCE", dropOrder: 2}, {title: "FILE", minWidth: 24}, {title: "JOB", dropOrder: 3},
		{title: "SIZE", alignRight: true}, {title: "MODIFIED", dropOrder: 1},
	}}
	for _, f := range files {
		size := ""
		if f.HasStat {
			size = formatBytes(float64(f.Stat.Size))
		}
		t.add(text(shortID(f.NodeID)), text(string(f.Source)), text(shownName(f, p.Width)), text(cmp.Or(f.SubmissionID, f.JobID)), text(size), text(formatAge(p.now(), f.Stat.Modified)))
	}
	if err := p.printTable(views(files, viewLogFile), t, "no such log files"); err != nil {
		return err
	}
	return incomplete(list.Missing)
}

// shownName returns a file's name for a table; on a terminal with a short worker ID, which
// --worker takes, too.
func shownName(f ray.LogFile, width int) string {
	if width > 0 && f.WorkerID != "" {
		return strings.Replace(f.Name, f.WorkerID, shortID(f.WorkerID)+"…", 1)
	}
	return f.Name
}

// incomplete returns the error of a result that lacks something that was reported.
func incomplete(missing []ray.MissingLog) error {
	if len(missing) == 0 {
		return nil
	}
	return reportedError{missing[0].Err}
}

// withStats adds the sizes of files. Files that are gone are omitted; those whose sizes
// are not known have none.
func withStats(ctx context.Context, from nodeLogs, files []ray.LogFile) ([]ray.LogFile, error) {
	files = slices.Clone(files)
	gone := make([]bool, len(files))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for i := range files {
		group.Go(func() error {
			stat, err := from.LogFileStat(groupCtx, files[i])
			gone[i] = ray.Code(err) == http.StatusNotFound
			files[i].Stat, files[i].HasStat = stat, err == nil
			return groupCtx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	out := files[:0]
	for i, f := range files {
		if !gone[i] {
			out = append(out, f)
		}
	}
	return out, nil
}

type logFileView struct {
	NodeID       string    `json:"node_id"`
	Source       string    `json:"source"`
	Name         string    `json:"name"`
	Generation   int       `json:"generation,omitempty"`
	Size         *int64    `json:"size,omitempty"`
	Modified     time.Time `json:"modified,omitzero"`
	SubmissionID string    `json:"submission_id,omitempty"`
	JobID        string    `json:"job_id,omitempty"`
	WorkerID     string    `json:"worker_id,omitempty"`
	ActorID      string    `json:"actor_id,omitempty"`
	PID          int       `json:"pid,omitempty"`
}

func viewLogFile(f ray.LogFile) logFileView {
	v := logFileView{
		NodeID: f.NodeID, Source: string(f.Source), Name: f.Name, Generation: f.Generation, Modified: f.Stat.Modified,
		SubmissionID: f.SubmissionID, JobID: f.JobID, WorkerID: f.WorkerID, ActorID: f.ActorID, PID: f.PID,
	}
	if f.HasStat {
		v.Size = &f.Stat.Size
	}
	return v
}

// nodeLog is one log: a file and its older generations.
type nodeLog struct {
	generations []ray.LogFile // by age, the newest first
}

func (l nodeLog) newest() ray.LogFile { return l.generations[0] }

// oneLog returns the only log that is selected.
func (l *logSelection) oneLog(ctx context.Context, from nodeLogs, console Console) (nodeLog, error) {
	list, err := l.find(ctx, from)
	if err != nil {
		return nodeLog{}, err
	}
	noteMissing(list, console)
	type key struct{ node, log string }
	byLog := map[key]*nodeLog{}
	var order []key
	for _, f := range list.Files {
		k := key{f.NodeID, f.Log}
		if byLog[k] == nil {
			byLog[k] = &nodeLog{}
			order = append(order, k)
		}
		byLog[k].generations = append(byLog[k].generations, f)
	}
	switch len(order) {
	case 1:
		log := byLog[order[0]]
		slices.SortStableFunc(log.generations, func(a, b ray.LogFile) int { return cmp.Compare(a.Generation, b.Generation) })
		return *log, nil
	case 0:
		if len(list.Missing) > 0 {
			return nodeLog{}, incomplete(list.Missing)
		}
		return nodeLog{}, &ray.Error{Op: "find the log", Code: http.StatusNotFound, Detail: "no log file matches: see raytap logs list"}
	}
	var names strings.Builder
	for _, k := range order[:min(len(order), 10)] {
		fmt.Fprintf(&names, "\n  --node %s --file %s", shortID(k.node), printable(k.log, true))
	}
	if len(order) > 10 {
		names.WriteString("\n  …")
	}
	return nodeLog{}, usagef("%d logs match: select one of them, for example with%s", len(order), names.String())
}
