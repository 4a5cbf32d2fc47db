package checkpoint

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

// formatVersion is the version of the positions file's format. Files with a higher one are
// rejected. Version 2 has log files on nodes: an older version, which knows only 1, would take
// their records for those of a job.
const formatVersion = 2

// Saved is the content of a positions file, as "raytap positions show" prints it. Times are
// RFC 3339. Hashes are hexadecimal, because they do not fit a JSON number.
type Saved struct {
	Version  int                       `json:"version"`
	Sink     *sink.Watermark           `json:"sink,omitempty"`
	Clusters map[string]*clusterJSON   `json:"clusters"`
	Slots    map[string]map[string]int `json:"stream_slots,omitempty"`
}

type (
	clusterJSON struct {
		Name            string               `json:"ray_cluster,omitempty"` // of its records, if another than its id
		Session         string               `json:"session"`
		Seen            bool                 `json:"seen"`
		BackfillSkipped map[string]time.Time `json:"backfill_skipped,omitempty"`
		Removed         *time.Time           `json:"removed_at,omitempty"` // since when it is not watched any more
		Logs            []logJSON            `json:"logs,omitempty"`
		Files           []filesJSON          `json:"node_logs,omitempty"` // by session
	}
	// logJSON is the position of a log. In the file it has no session, id or run.
	logJSON struct {
		Session  string       `json:"session,omitempty"`
		ID       string       `json:"submission_id,omitempty"`
		Epoch    uint64       `json:"epoch"`
		Position positionJSON `json:"position"`
		// Generation is which file of a rotated log the position is in.
		Generation *driverFileJSON `json:"generation,omitempty"`
		Verified   *positionJSON   `json:"verified,omitempty"`
		Ambiguous  bool            `json:"ambiguous,omitempty"`
		LastTime   int64           `json:"last_time_ns,omitempty"`
		progressJSON
		tallyJSON
		UnlistedSince *time.Time     `json:"unlisted_since,omitempty"`
		Skipped       uint64         `json:"skipped,omitempty"` // lines before the position that no record has counted yet
		Pending       []pendingJSON  `json:"pending,omitempty"`
		Recovered     *recoveredJSON `json:"recovered,omitempty"`
		Run           runJSON        `json:"run,omitzero"`
		// Framings are those of the messages: transport -> text or lines.
		Framings map[string]string `json:"framings,omitempty"`
	}
	progressJSON struct {
		Begun  bool `json:"begun,omitempty"`
		Done   bool `json:"done,omitempty"`
		AtEnd  bool `json:"read_to_end,omitempty"`
		Checks int  `json:"checks,omitempty"`
	}
	// tallyJSON is what an end record counts of the run in addition to the current epoch.
	tallyJSON struct {
		RunLines   int64 `json:"run_lines,omitempty"`
		RunContent int64 `json:"run_content,omitempty"`
		RunGap     bool  `json:"run_gap,omitempty"`
	}
	runJSON struct {
		Start  time.Time `json:"start_time"`
		Status string    `json:"status,omitempty"`
		// What an end record reports of a run whose id another one gets meanwhile.
		ExitCode  *int              `json:"driver_exit_code,omitempty"`
		ErrorType string            `json:"error_type,omitempty"`
		JobID     string            `json:"job_id,omitempty"`
		Node      string            `json:"node_id,omitempty"`
		Agent     string            `json:"agent_url,omitempty"`
		Metadata  map[string]string `json:"metadata,omitempty"`
	}
	positionJSON struct {
		Content     uint64          `json:"content"`
		Lines       uint64          `json:"lines"`
		Raw         int64           `json:"raw"`
		Hash        []byte          `json:"hash"`
		Fingerprint fingerprintJSON `json:"fingerprint"`
		Line        *lineJSON       `json:"line,omitempty"`
	}
	// driverFileJSON is which file of a rotated driver log a position is in.
	driverFileJSON struct {
		generationJSON
		Before uint64 `json:"content_before,omitempty"` // bytes
		Oldest bool   `json:"oldest,omitempty"`
	}
	lineJSON struct {
		Size int64  `json:"size"`
		Hash string `json:"hash"`
	}
	fingerprintJSON struct {
		Length int    `json:"length"`
		Hash   string `json:"hash"`
		Start  int64  `json:"start"`
	}
	// recoveredJSON is what the sink file holds after the position.
	recoveredJSON struct {
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
	pendingJSON struct {
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
		Fingerprint: fingerprintJSON{p.Tail.Length, strconv.FormatUint(p.Tail.Hash, 16), p.Tail.Start},
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
	h, err := strconv.ParseUint(j.Fingerprint.Hash, 16, 64)
	if err != nil {
		return p, fmt.Errorf("fingerprint: %w", err)
	}
	p.Tail = lines.Fingerprint{Length: j.Fingerprint.Length, Hash: h, Start: j.Fingerprint.Start}
	if j.Line != nil {
		if h, err = strconv.ParseUint(j.Line.Hash, 16, 64); err != nil {
			return p, fmt.Errorf("line: %w", err)
		}
		p.Line = lines.LineHash{Size: j.Line.Size, Hash: h}
	}
	switch {
	case p.Tail.Length < 0 || p.Tail.Length > lines.FingerprintSize || uint64(p.Tail.Length) > p.Content:
		return p, fmt.Errorf("fingerprint: a length of %d bytes at content byte %d", p.Tail.Length, p.Content)
	case p.Content == 0 && p.Hash.Sum64() != xxhash.Sum64(nil):
		return p, fmt.Errorf("hash: of no content, and not that of nothing")
	}
	return p, nil
}

// Content returns all positions, as the file has them after a save.
func (s *Store) Content() (*Saved, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.toJSON()
}

// toJSON returns all positions. The result shares with s only what is never changed. The
// caller holds s.mu.
func (s *Store) toJSON() (*Saved, error) {
	out := &Saved{Version: formatVersion, Clusters: map[string]*clusterJSON{}, Slots: maps.Clone(s.slots)}
	if s.watermark.Path != "" {
		w := s.watermark
		out.Sink = &w
	}
	cluster := func(name string) *clusterJSON {
		c := out.Clusters[name]
		if c == nil {
			c = &clusterJSON{}
			out.Clusters[name] = c
		}
		return c
	}
	for name, c := range s.clusters {
		j := cluster(name)
		j.Name, j.Session, j.Seen, j.BackfillSkipped = c.name, c.Session, c.Seen, c.BackfillSkipped
		if !c.removed.IsZero() {
			removed := c.removed
			j.Removed = &removed
		}
	}
	for k, e := range s.logs {
		l, err := e.toJSON(k)
		if err != nil {
			return nil, err
		}
		c := cluster(k.Cluster)
		c.Logs = append(c.Logs, l)
	}
	for _, f := range s.files {
		if j, ok := f.toJSON(); ok {
			c := cluster(f.cluster)
			c.Files = append(c.Files, j)
		}
	}
	for _, c := range out.Clusters {
		slices.SortFunc(c.Files, func(a, b filesJSON) int { return cmp.Compare(a.Session, b.Session) })
		slices.SortFunc(c.Logs, func(a, b logJSON) int {
			return cmp.Or(cmp.Compare(a.Session, b.Session), cmp.Compare(a.ID, b.ID))
		})
	}
	return out, nil
}

func (e *Entry) toJSON(k Key) (logJSON, error) {
	pos, err := toPositionJSON(e.Pos)
	if err != nil {
		return logJSON{}, err
	}
	l := logJSON{
		Session: k.Session, ID: k.SubmissionID, Epoch: e.Epoch, Position: pos, Generation: toDriverFileJSON(e.Gen), Ambiguous: e.Ambiguous, LastTime: e.LastTime,
		progressJSON: progressJSON{Begun: e.Begun, Done: e.Done, AtEnd: e.AtEnd, Checks: e.Checks},
		tallyJSON:    tallyJSON{e.Tally.Lines, e.Tally.Content, e.Tally.Gap}, Skipped: e.Skipped,
		Run: runJSON{Start: e.Run.Start, Status: string(e.Run.Status), ExitCode: e.Run.DriverExitCode, ErrorType: e.Run.ErrorType, JobID: e.Run.JobID,
			Node: e.Run.DriverNodeID, Agent: e.Run.DriverAgentURL, Metadata: e.Run.Metadata},
	}
	if !e.unlistedSince.IsZero() {
		since := e.unlistedSince
		l.UnlistedSince = &since
	}
	if e.Unverified {
		v, err := toPositionJSON(*e.LastVerified)
		if err != nil {
			return l, err
		}
		l.Verified = &v
	}
	for name, f := range map[string]lines.Framing{"websocket": e.Framings.WebSocket, "sse": e.Framings.SSE} {
		if f != lines.FramingUnknown {
			if l.Framings == nil {
				l.Framings = map[string]string{}
			}
			l.Framings[name] = f.String()
		}
	}
	for _, p := range e.Pending {
		l.Pending = append(l.Pending, pendingJSON{p.Event, p.Epoch, p.Seq, string(p.Record)})
	}
	if r := e.recovered; r != nil {
		l.Recovered = r.toJSON()
	}
	return l, nil
}

// entry returns the entry that a log's value describes, without its key.
func (l logJSON) entry() (*Entry, error) {
	pos, err := l.Position.position()
	if err != nil {
		return nil, err
	}
	gen, err := l.Generation.generation()
	if err != nil {
		return nil, err
	}
	e := &Entry{State: State{
		Epoch: l.Epoch, Node: l.Run.Node, Pos: pos, Gen: gen, Verification: Verification{Ambiguous: l.Ambiguous}, LastTime: l.LastTime,
		Begun: l.Begun, Done: l.Done, AtEnd: l.AtEnd, Checks: l.Checks, Tally: RunTally{l.RunLines, l.RunContent, l.RunGap}, Skipped: l.Skipped,
		Run: ray.Job{
			Type: ray.JobSubmission, SubmissionID: l.ID, Start: l.Run.Start, Status: ray.JobStatus(l.Run.Status), DriverExitCode: l.Run.ExitCode, ErrorType: l.Run.ErrorType,
			JobID:        l.Run.JobID,
			DriverNodeID: l.Run.Node, DriverAgentURL: l.Run.Agent, Metadata: l.Run.Metadata,
		},
	}}
	if l.UnlistedSince != nil {
		e.unlistedSince = *l.UnlistedSince
	}
	if l.Verified != nil {
		verified, err := l.Verified.position()
		if err != nil {
			return nil, err
		}
		e.LastVerified, e.Unverified = &verified, true
	}
	e.Framings = Framings{WebSocket: lines.ParseFraming(l.Framings["websocket"]), SSE: lines.ParseFraming(l.Framings["sse"])}
	for _, p := range l.Pending {
		e.Pending = append(e.Pending, PendingEvent{p.Event, p.Epoch, p.Seq, []byte(p.Record)})
	}
	if l.Recovered != nil {
		e.recovered = l.Recovered.recovered()
	}
	return e, nil
}

func (r *recoveredLog) toJSON() *recoveredJSON {
	j := &recoveredJSON{Next: r.next, LastTime: r.lastTime}
	for _, f := range r.events {
		j.Events = append(j.Events, eventJSON{f.Event, f.epoch, f.seq, f.Start, f.node})
	}
	return j
}

func (j *recoveredJSON) recovered() *recoveredLog {
	r := newRecoveredLog()
	r.lastTime = j.LastTime
	maps.Copy(r.next, j.Next)
	for _, f := range j.Events {
		r.events = append(r.events, FoundEvent{f.Event, f.Epoch, f.Seq, f.Start, f.Node})
	}
	return r
}
