package shipper

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"

	"raytap/lines"
	"raytap/ray"
	"raytap/shipper/sink"
)

// positionsVersion is that of the positions file. One with a higher number is
// refused.
const positionsVersion = 1

// SavedPositions is what a positions file says, and what raytap positions show
// prints. Times are RFC 3339, hashes hexadecimal: they do not fit a JSON number.
type SavedPositions struct {
	Version  int                       `json:"version"`
	Sink     *sink.Watermark           `json:"sink,omitempty"`
	Clusters map[string]*clusterJSON   `json:"clusters"`
	Slots    map[string]map[string]int `json:"websocket_slots,omitempty"`
}

type (
	clusterJSON struct {
		Session string               `json:"session"`
		Seen    bool                 `json:"seen"`
		Left    map[string]time.Time `json:"left_out,omitempty"`
		Logs    []logJSON            `json:"logs,omitempty"`
	}
	// logJSON is a log. Its value in the file has neither session, id nor run.
	logJSON struct {
		Session  string        `json:"session,omitempty"`
		ID       string        `json:"submission_id,omitempty"`
		Epoch    uint64        `json:"epoch"`
		Position positionJSON  `json:"position"`
		Verified *positionJSON `json:"verified,omitempty"`
		Repeats  bool          `json:"repeats,omitempty"`
		LastTime int64         `json:"last_time_ns,omitempty"`
		Begun    bool          `json:"begun,omitempty"`
		Done     bool          `json:"done,omitempty"`
		AtEnd    bool          `json:"read_to_end,omitempty"`
		Checks   int           `json:"checks,omitempty"`
		// What an end record counts of the run beside the current epoch.
		RunLines   int64        `json:"run_lines,omitempty"`
		RunContent int64        `json:"run_content,omitempty"`
		RunGap     bool         `json:"run_gap,omitempty"`
		Gone       *time.Time   `json:"gone,omitempty"`
		Skipped    uint64       `json:"skipped,omitempty"` // lines before the position that no record has told of
		Owed       []owedJSON   `json:"owed,omitempty"`
		SinkHas    *sinkHasJSON `json:"sink_has,omitempty"`
		Run        runJSON      `json:"run,omitzero"`
		// Forms are those of the messages: way -> text or lines.
		Forms map[string]string `json:"message_forms,omitempty"`
	}
	runJSON struct {
		Start    time.Time         `json:"start_time"`
		Status   string            `json:"status,omitempty"`
		JobID    string            `json:"job_id,omitempty"`
		Node     string            `json:"node_id,omitempty"`
		Agent    string            `json:"agent_url,omitempty"`
		Metadata map[string]string `json:"metadata,omitempty"`
	}
	positionJSON struct {
		Content uint64     `json:"content"`
		Lines   uint64     `json:"lines"`
		Raw     int64      `json:"raw"`
		Hash    []byte     `json:"hash"`
		Anchor  anchorJSON `json:"anchor"`
		Line    *lineJSON  `json:"line,omitempty"`
	}
	lineJSON struct {
		Size int64  `json:"size"`
		Hash string `json:"hash"`
	}
	anchorJSON struct {
		Length int    `json:"length"`
		Hash   string `json:"hash"`
		Start  int64  `json:"start"`
	}
	// sinkHasJSON is what the sink's file holds behind the position.
	sinkHasJSON struct {
		Next     map[uint64]uint64 `json:"next_seq"` // by epoch
		Events   []eventJSON       `json:"events,omitempty"`
		LastTime int64             `json:"last_time_ns"`
	}
	eventJSON struct {
		Event string `json:"event"`
		Epoch uint64 `json:"epoch"`
		Seq   uint64 `json:"seq"`
		Start string `json:"start_time,omitempty"`
		Node  string `json:"node_id,omitempty"`
	}
	owedJSON struct {
		Event  string `json:"event"`
		Epoch  uint64 `json:"epoch"`
		Seq    uint64 `json:"seq"`
		Record string `json:"record"`
	}
)

func toPositionJSON(p lines.Position) (positionJSON, error) {
	h, err := p.Hash.MarshalBinary()
	j := positionJSON{
		Content: p.Content, Lines: p.Lines, Raw: p.Raw, Hash: h,
		Anchor: anchorJSON{p.Tail.Length, strconv.FormatUint(p.Tail.Hash, 16), p.Tail.Start},
	}
	if p.Line.Size > 0 {
		j.Line = &lineJSON{p.Line.Size, strconv.FormatUint(p.Line.Hash, 16)}
	}
	return j, err
}

func (j positionJSON) position() (lines.Position, error) {
	p := lines.Position{Content: j.Content, Lines: j.Lines, Raw: j.Raw}
	p.Hash.Reset()
	if err := p.Hash.UnmarshalBinary(j.Hash); err != nil {
		return p, fmt.Errorf("hash: %w", err)
	}
	h, err := strconv.ParseUint(j.Anchor.Hash, 16, 64)
	if err != nil {
		return p, fmt.Errorf("anchor: %w", err)
	}
	p.Tail = lines.Fingerprint{Length: j.Anchor.Length, Hash: h, Start: j.Anchor.Start}
	if j.Line != nil {
		if h, err = strconv.ParseUint(j.Line.Hash, 16, 64); err != nil {
			return p, fmt.Errorf("line: %w", err)
		}
		p.Line = lines.LineHash{Size: j.Line.Size, Hash: h}
	}
	switch {
	case p.Tail.Length < 0 || p.Tail.Length > lines.FingerprintSize || uint64(p.Tail.Length) > p.Content:
		return p, fmt.Errorf("anchor: a length of %d bytes at content byte %d", p.Tail.Length, p.Content)
	case p.Content == 0 && p.Hash.Sum64() != xxhash.Sum64(nil):
		return p, fmt.Errorf("hash: of no content, and not that of nothing")
	}
	return p, nil
}

// Content returns all that is known, as the file has it once it is saved.
func (p *Positions) Content() (*SavedPositions, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.toJSON()
}

// toJSON returns all that is known. It is called under the lock, and shares with p only
// what is never changed.
func (p *Positions) toJSON() (*SavedPositions, error) {
	out := &SavedPositions{Version: positionsVersion, Clusters: map[string]*clusterJSON{}, Slots: maps.Clone(p.slots)}
	if p.mark.Path != "" {
		mark := p.mark
		out.Sink = &mark
	}
	cluster := func(name string) *clusterJSON {
		c := out.Clusters[name]
		if c == nil {
			c = &clusterJSON{}
			out.Clusters[name] = c
		}
		return c
	}
	for name, c := range p.clusters {
		j := cluster(name)
		j.Session, j.Seen, j.Left = c.session, c.seen, c.left
	}
	for k, e := range p.logs {
		l, err := e.toJSON(k)
		if err != nil {
			return nil, err
		}
		c := cluster(k.cluster)
		c.Logs = append(c.Logs, l)
	}
	for _, c := range out.Clusters {
		slices.SortFunc(c.Logs, func(a, b logJSON) int {
			return cmp.Or(cmp.Compare(a.Session, b.Session), cmp.Compare(a.ID, b.ID))
		})
	}
	return out, nil
}

func (e *logEntry) toJSON(k logKey) (logJSON, error) {
	pos, err := toPositionJSON(e.pos)
	if err != nil {
		return logJSON{}, err
	}
	l := logJSON{
		Session: k.session, ID: k.submission, Epoch: e.epoch, Position: pos, Repeats: e.ambiguous, LastTime: e.lastTime,
		Begun: e.begun, Done: e.done, AtEnd: e.atEnd, Checks: e.checks, RunLines: e.tally.lines, RunContent: e.tally.content, RunGap: e.tally.gap, Skipped: e.skipped,
		Run: runJSON{Start: e.run.Start, Status: string(e.run.Status), JobID: e.run.JobID,
			Node: e.run.DriverNodeID, Agent: e.run.DriverAgentURL, Metadata: e.run.Metadata},
	}
	if !e.gone.IsZero() {
		gone := e.gone
		l.Gone = &gone
	}
	if e.unverified {
		v, err := toPositionJSON(*e.lastVerified)
		if err != nil {
			return l, err
		}
		l.Verified = &v
	}
	for w, f := range e.framings {
		if f != lines.FramingUnknown {
			if l.Forms == nil {
				l.Forms = map[string]string{}
			}
			l.Forms[Transport(w).String()] = f.String()
		}
	}
	for _, o := range e.pending {
		l.Owed = append(l.Owed, owedJSON{o.event, o.epoch, o.seq, string(o.record)})
	}
	if r := e.sinkHas; r != nil {
		l.SinkHas = &sinkHasJSON{Next: r.next, LastTime: r.lastTime}
		for _, f := range r.events {
			l.SinkHas.Events = append(l.SinkHas.Events, eventJSON{f.event, f.epoch, f.seq, f.start, f.node})
		}
	}
	return l, nil
}

func (l logJSON) entry() (*logEntry, error) {
	pos, err := l.Position.position()
	if err != nil {
		return nil, err
	}
	e := &logEntry{snapshot: snapshot{
		epoch: l.Epoch, node: l.Run.Node, pos: pos, ambiguous: l.Repeats, lastTime: l.LastTime, begun: l.Begun, done: l.Done, atEnd: l.AtEnd, checks: l.Checks, tally: runTally{l.RunLines, l.RunContent, l.RunGap}, skipped: l.Skipped,
		run: ray.Job{
			Type: ray.JobSubmission, SubmissionID: l.ID, Start: l.Run.Start, Status: ray.JobStatus(l.Run.Status), JobID: l.Run.JobID,
			DriverNodeID: l.Run.Node, DriverAgentURL: l.Run.Agent, Metadata: l.Run.Metadata,
		},
	}}
	if l.Gone != nil {
		e.gone = *l.Gone
	}
	if l.Verified != nil {
		verified, err := l.Verified.position()
		if err != nil {
			return nil, err
		}
		e.lastVerified, e.unverified = &verified, true
	}
	for w := range e.framings {
		e.framings[w] = lines.ParseFraming(l.Forms[Transport(w).String()])
	}
	for _, o := range l.Owed {
		e.pending = append(e.pending, pendingEvent{o.Event, o.Epoch, o.Seq, []byte(o.Record)})
	}
	if l.SinkHas != nil {
		r := &recoveredLog{next: map[uint64]uint64{}, lastTime: l.SinkHas.LastTime}
		maps.Copy(r.next, l.SinkHas.Next)
		for _, f := range l.SinkHas.Events {
			r.events = append(r.events, foundEvent{f.Event, f.Epoch, f.Seq, f.Start, f.Node})
		}
		e.sinkHas = r
	}
	return e, nil
}
