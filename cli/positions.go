package cli

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/alecthomas/kingpin/v2"
)

// SavedPositions is the content of a positions file.
type SavedPositions struct {
	File string
	Data any // the whole content, for JSON and YAML
	Logs []SavedLog
	// Sink is the path of the sink file, "" without one. SinkNumber and SinkOffset are
	// its number and how far it is committed.
	Sink       string
	SinkNumber uint64
	SinkOffset int64 // bytes
	Excluded   int   // number of jobs that the backfill setting excludes
}

// SavedLog is the position of one log.
type SavedLog struct {
	Cluster, Session, SubmissionID string
	Log                            string // its name; "" for the driver log of SubmissionID
	Status                         string // of the job, as last saved
	Epoch, Lines, Bytes            uint64
	LastLine                       time.Time // time of the last record; zero before the first
	Done                           bool      // read to its end, or abandoned
	UnlistedSince                  time.Time // when Ray stopped listing the job; zero while it does
	PendingEvents                  int       // events that are due but not yet written
}

func (c *Commands) addPositions(positions *kingpin.CmdClause) {
	var file, cluster string
	show := c.withLocalOutput(positions.Command("show", "Show how far each log was shipped, from the positions file."),
		`It reads FILE, or the positions file of the configuration, without changing it. This is safe while a daemon writes the file. JSON and YAML print the complete content of the file.

Examples:

  raytap positions show --config.file /etc/raytap.yaml --cluster prod
  raytap positions show /var/lib/raytap/raytap.jsonl.positions.db -o json | jq .sink`,
		func(p printer) error { return c.showPositions(file, cluster, p) })
	show.Arg("file", "The positions file (default: the one of --config.file, or of a daemon without a configuration).").StringVar(&file)
	show.Flag("cluster", "Filter by cluster name.").PlaceHolder("NAME").StringVar(&cluster)
}

func (c *Commands) showPositions(file, cluster string, p printer) error {
	if file == "" {
		var err error
		if file, err = c.o.PositionsFile(); err != nil {
			return &UsageError{err.Error()}
		}
	}
	saved, err := c.o.Positions(file, cluster)
	if err != nil {
		return err
	}
	slices.SortStableFunc(saved.Logs, func(a, b SavedLog) int {
		return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), b.LastLine.Compare(a.LastLine), cmp.Compare(a.SubmissionID, b.SubmissionID), cmp.Compare(a.Log, b.Log))
	})
	t := &table{columns: []column{
		{title: "CLUSTER", dropOrder: 3}, {title: "ID"}, {title: "SESSION", minWidth: 10, dropOrder: 5}, {title: "STATUS", dropOrder: 2}, {title: "LOG"}, {title: "EPOCH", alignRight: true, dropOrder: 4},
		{title: "LINES", alignRight: true}, {title: "BYTES", alignRight: true}, {title: "LAST LINE"}, {title: "NOT LISTED SINCE", dropOrder: 1}, {title: "PENDING", alignRight: true},
	}}
	now := p.now()
	for _, l := range saved.Logs {
		log := cell{"open", green}
		if l.Done {
			log = cell{"ended", faint}
		}
		pending := ""
		if l.PendingEvents > 0 {
			pending = strconv.Itoa(l.PendingEvents)
		}
		t.add(text(l.Cluster), text(cmp.Or(l.Log, l.SubmissionID)), cell{l.Session, faint}, state(l.Status), log, text(strconv.FormatUint(l.Epoch, 10)),
			text(strconv.FormatUint(l.Lines, 10)), text(formatBytes(float64(l.Bytes))), text(formatAge(now, l.LastLine)), text(formatAge(now, l.UnlistedSince)), text(pending))
	}
	if err := p.printTable(saved.Data, t, "no positions in "+saved.File); err != nil || p.format != formatTable {
		return err
	}
	if saved.Sink != "" {
		p.infof("sink file %s: committed up to byte %d, file number %d", saved.Sink, saved.SinkOffset, saved.SinkNumber)
	}
	if saved.Excluded > 0 {
		p.infof("%d jobs are excluded by the backfill setting", saved.Excluded)
	}
	return nil
}
