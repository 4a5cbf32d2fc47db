package cli

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/alecthomas/kingpin/v2"
)

// SavedPositions is what a positions file says.
type SavedPositions struct {
	File   string
	Answer any // what JSON and YAML print: all of it
	Logs   []SavedLog
	// Sink is the sink file's path, "" without one, and how far it is accounted for.
	Sink       string
	SinkNumber uint64
	SinkOffset int64 // bytes
	LeftOut    int   // jobs that the backfill excluded
}

// SavedLog is how far one log was shipped.
type SavedLog struct {
	Cluster, Session, SubmissionID string
	Status                         string // of the job, as last saved
	Epoch, Lines, Bytes            uint64
	LastLine                       time.Time // of the last record; zero before the first
	Done                           bool      // read to its end, or given up
	Gone                           time.Time // since when Ray does not list the job
	Owed                           int       // events that are decided and not written
}

func (c *Commands) addPositions(positions *kingpin.CmdClause) {
	var file, cluster string
	show := c.answersHere(positions.Command("show", "Show what was shipped: how far each log is in the positions file."),
		`It reads the file that the configuration names, or FILE, also while a raytap writes it, and changes nothing. JSON and YAML print all that is in the file.

Examples:

  raytap positions show --config.file /etc/raytap.yaml --cluster prod
  raytap positions show /var/lib/raytap/raytap.jsonl.positions.db -o json | jq .sink`,
		func(p printer) error { return c.showPositions(file, cluster, p) })
	show.Arg("file", "The positions file; without it that of --config.file, else that of a raytap without a configuration.").StringVar(&file)
	show.Flag("cluster", "Only the logs of this cluster.").PlaceHolder("NAME").StringVar(&cluster)
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
		return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), b.LastLine.Compare(a.LastLine), cmp.Compare(a.SubmissionID, b.SubmissionID))
	})
	t := &table{columns: []column{
		{title: "CLUSTER", spare: 3}, {title: "ID"}, {title: "SESSION", least: 10, spare: 5}, {title: "STATUS", spare: 2}, {title: "LOG"}, {title: "EPOCH", right: true, spare: 4},
		{title: "LINES", right: true}, {title: "BYTES", right: true}, {title: "LAST LINE"}, {title: "NOT LISTED SINCE", spare: 1}, {title: "OWED", right: true},
	}}
	now := p.now()
	for _, l := range saved.Logs {
		log := cell{"open", green}
		if l.Done {
			log = cell{"ended", faint}
		}
		owed := ""
		if l.Owed > 0 {
			owed = strconv.Itoa(l.Owed)
		}
		t.add(text(l.Cluster), text(l.SubmissionID), cell{l.Session, faint}, state(l.Status), log, text(strconv.FormatUint(l.Epoch, 10)),
			text(strconv.FormatUint(l.Lines, 10)), text(bytesText(float64(l.Bytes))), text(ago(now, l.LastLine)), text(ago(now, l.Gone)), text(owed))
	}
	if err := p.rows(saved.Answer, t, "no log has a position in "+saved.File); err != nil || p.form != formTable {
		return err
	}
	if saved.Sink != "" {
		p.notef("%s is accounted for up to byte %d, as file %d", saved.Sink, saved.SinkOffset, saved.SinkNumber)
	}
	if saved.LeftOut > 0 {
		p.notef("%d jobs are not shipped, as the backfill has it", saved.LeftOut)
	}
	return nil
}
