package tail

import (
	"errors"
	"slices"
	"testing"
	"time"

	"raytap/ray"
	"raytap/shipper/writer"
)

func TestSelector_Candidates(t *testing.T) {
	noFile, blocks := ray.LogTransports{NoFile: true}, ray.LogTransports{TailsBlock: true}
	for name, tt := range map[string]struct {
		c        conditions
		textless bool
		want     []Transport
	}{
		"auto":                                {conditions{protocol: ProtocolAuto}, false, []Transport{NodeAgent, WebSocket, File}},
		"http":                                {conditions{protocol: ProtocolHTTP}, false, []Transport{NodeAgent, File}},
		"websocket":                           {conditions{protocol: ProtocolWebSocket}, false, []Transport{WebSocket}},
		"auto, settled":                       {conditions{protocol: ProtocolAuto, settled: true}, false, []Transport{NodeAgent, WebSocket, File}},
		"auto, no file API":                   {conditions{protocol: ProtocolAuto, support: noFile}, false, []Transport{NodeAgent, WebSocket, Snapshot}},
		"auto, no file API, settled":          {conditions{protocol: ProtocolAuto, support: noFile, settled: true}, false, []Transport{NodeAgent, Snapshot}},
		"auto, no file API, settled, no text": {conditions{protocol: ProtocolAuto, support: noFile, settled: true}, true, []Transport{NodeAgent, WebSocket}},
		"http, no file API, settled, no text": {conditions{protocol: ProtocolHTTP, support: noFile, settled: true}, true, []Transport{NodeAgent, Snapshot}},
		"websocket, no file API, settled":     {conditions{protocol: ProtocolWebSocket, support: noFile, settled: true}, false, []Transport{Snapshot}},
		"websocket, no file API, no text":     {conditions{protocol: ProtocolWebSocket, support: noFile, settled: true}, true, []Transport{WebSocket}},
		"auto, tails block":                   {conditions{protocol: ProtocolAuto, support: blocks}, false, []Transport{NodeAgent, File}},
		"websocket, tails block":              {conditions{protocol: ProtocolWebSocket, support: blocks}, false, []Transport{WebSocket}},
		"found log":                           {conditions{protocol: ProtocolAuto, found: true}, false, []Transport{NodeAgent, File}},
		"found log, websocket":                {conditions{protocol: ProtocolWebSocket, found: true}, false, []Transport{File}},
		"found log, no file API":              {conditions{protocol: ProtocolAuto, found: true, support: noFile}, false, []Transport{NodeAgent}},
		"messages, auto":                      {conditions{protocol: ProtocolAuto, messages: true}, false, []Transport{WebSocket, SSE, Snapshot}},
		"messages, auto, settled":             {conditions{protocol: ProtocolAuto, messages: true, settled: true}, false, []Transport{Snapshot, WebSocket, SSE}},
		"messages, websocket":                 {conditions{protocol: ProtocolWebSocket, messages: true}, false, []Transport{WebSocket, Snapshot}},
		"messages, http":                      {conditions{protocol: ProtocolHTTP, messages: true}, false, []Transport{SSE, Snapshot}},
		"messages, http, settled":             {conditions{protocol: ProtocolHTTP, messages: true, settled: true}, false, []Transport{Snapshot, SSE}},
	} {
		t.Run(name, func(t *testing.T) {
			s := &selector{}
			if tt.textless {
				s.textErr = ray.ErrNotText
			}
			if got := s.candidates(tt.c); !slices.Equal(got, tt.want) {
				t.Errorf("candidates %v, want %v", got, tt.want)
			}
		})
	}
}

// allUsable returns the conditions of a running job for which every transport may be used.
func allUsable(protocol string) conditions {
	return conditions{
		protocol: protocol, tailable: true, slotFree: true, content: 100, maxReplay: 100, poll: time.Second,
		agent: func() bool { return true },
	}
}

func TestSelector_Pick(t *testing.T) {
	now := time.Unix(1e9, 0)
	agentDown := func(c *conditions) { c.agent = func() bool { return false } }
	noFile := func(c *conditions) { c.support.NoFile = true }
	settled := func(c *conditions) { c.terminal, c.settled = true, true }
	cooldown := func(t Transport, d time.Duration) func(*selector) {
		return func(s *selector) { s.transports[t].until = now.Add(d) }
	}
	closedTwice := func(at uint64) func(*selector) {
		return func(s *selector) {
			s.transports[WebSocket].closedAgain(at)
			s.transports[WebSocket].closedAgain(at)
		}
	}
	type row struct {
		protocol string
		messages bool
		change   []func(*conditions)
		state    func(*selector)
		want     Transport
		wait     time.Duration
	}
	changes := func(f ...func(*conditions)) []func(*conditions) { return f }
	for name, tt := range map[string]row{
		"auto":                     {want: NodeAgent},
		"node agent down":          {change: changes(agentDown), want: WebSocket},
		"node agent in cooldown":   {state: cooldown(NodeAgent, time.Second), want: WebSocket},
		"cooldown is over":         {state: cooldown(NodeAgent, 0), want: NodeAgent},
		"slot not free":            {change: changes(agentDown, func(c *conditions) { c.slotFree = false }), want: File},
		"upgrades refused":         {change: changes(agentDown, func(c *conditions) { c.refused = true }), want: File},
		"content above MaxReplay":  {change: changes(agentDown, func(c *conditions) { c.content++ }), want: File},
		"not tailable":             {change: changes(agentDown, func(c *conditions) { c.tailable = false }), want: File},
		"closed twice here":        {change: changes(agentDown), state: closedTwice(100), want: File},
		"closed twice elsewhere":   {change: changes(agentDown), state: closedTwice(99), want: WebSocket},
		"over, not settled":        {change: changes(agentDown, func(c *conditions) { c.terminal = true }), want: File},
		"settled":                  {change: changes(agentDown, settled), want: File},
		"found log":                {change: changes(agentDown, func(c *conditions) { c.found = true }), want: File},
		"no file API":              {change: changes(agentDown, noFile, func(c *conditions) { c.slotFree = false }), want: Snapshot},
		"no file API, settled":     {change: changes(agentDown, noFile, settled), want: Snapshot},
		"no text":                  {change: changes(agentDown, noFile, settled), state: func(s *selector) { s.textErr = ray.ErrNotText }, want: WebSocket},
		"last one in cooldown":     {change: changes(agentDown, func(c *conditions) { c.slotFree = false }), state: cooldown(File, time.Minute), want: File},
		"http":                     {protocol: ProtocolHTTP, change: changes(agentDown), want: File},
		"websocket":                {protocol: ProtocolWebSocket, want: WebSocket},
		"websocket, no slot":       {protocol: ProtocolWebSocket, change: changes(func(c *conditions) { c.slotFree = false }), want: WebSocket},
		"websocket, long log":      {protocol: ProtocolWebSocket, change: changes(func(c *conditions) { c.content = 1 << 40 }), want: WebSocket},
		"websocket, settled":       {protocol: ProtocolWebSocket, change: changes(settled), want: WebSocket},
		"websocket, not settled":   {protocol: ProtocolWebSocket, change: changes(func(c *conditions) { c.terminal = true }), want: None, wait: time.Second},
		"websocket, in cooldown":   {protocol: ProtocolWebSocket, state: cooldown(WebSocket, time.Minute), want: None, wait: time.Minute},
		"websocket, not tailable":  {protocol: ProtocolWebSocket, change: changes(func(c *conditions) { c.tailable = false }), want: None, wait: transportCooldown},
		"messages":                 {messages: true, want: WebSocket},
		"messages, refused":        {messages: true, change: changes(func(c *conditions) { c.refused = true }), want: SSE},
		"messages, slot not free":  {messages: true, change: changes(func(c *conditions) { c.slotFree = false }), want: Snapshot},
		"messages, settled":        {messages: true, change: changes(settled), want: Snapshot},
		"messages, no snapshot":    {messages: true, change: changes(settled), state: cooldown(Snapshot, time.Minute), want: WebSocket},
		"messages, SSE alone left": {messages: true, state: cooldown(WebSocket, time.Minute), want: SSE},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.protocol == "" {
				tt.protocol = ProtocolAuto
			}
			c := allUsable(tt.protocol)
			c.messages = tt.messages
			for _, f := range tt.change {
				f(&c)
			}
			s := &selector{}
			if tt.state != nil {
				tt.state(s)
			}
			if got, wait := s.pick(c, now); got != tt.want || wait != tt.wait {
				t.Errorf("picked %v with a wait of %v, want %v and %v", got, wait, tt.want, tt.wait)
			}
		})
	}
}

func TestSelector_BetterAvailable(t *testing.T) {
	now := time.Unix(1e9, 0)
	for name, tt := range map[string]struct {
		from    Transport
		answers bool
		until   time.Duration // of the node agent's cooldown
		want    bool
		asked   bool
	}{
		"node agent answers":     {from: WebSocket, answers: true, want: true, asked: true},
		"node agent is silent":   {from: WebSocket, asked: true},
		"node agent in cooldown": {from: WebSocket, answers: true, until: time.Second},
		"best one already":       {from: NodeAgent, answers: true},
	} {
		t.Run(name, func(t *testing.T) {
			s, asked := &selector{}, false
			s.transports[NodeAgent].until = now.Add(tt.until)
			got := s.betterAvailable(tt.from, allUsable(ProtocolAuto), now, func(Transport) bool { asked = true; return tt.answers })
			if got != tt.want || asked != tt.asked {
				t.Errorf("better %v, node agent tried %v, want %v and %v", got, asked, tt.want, tt.asked)
			}
		})
	}
}

func TestSelector_Record(t *testing.T) {
	now := time.Unix(1e9, 0)
	code := func(code, status int) error { return &ray.Error{Code: code, Status: status} }
	left := verdict{fellBack: true, cooldown: true}
	type row struct {
		from      Transport
		err       error
		grew      bool
		offline   bool // no request to the cluster succeeds
		messages  bool
		settled   bool
		protocol  string
		fails     int // before
		want      verdict
		cooldown  time.Duration
		wantFails int
	}
	for name, tt := range map[string]row{
		"node agent unreachable":       {from: NodeAgent, err: code(503, 0), want: verdict{fellBack: true, cooldown: true, agentDown: true}},
		"node agent timed out":         {from: NodeAgent, err: code(408, 0), want: verdict{fellBack: true, cooldown: true, agentDown: true}},
		"cluster unreachable, too":     {from: NodeAgent, err: code(503, 0), offline: true},
		"node agent worked before":     {from: NodeAgent, err: code(503, 0), grew: true, fails: 1},
		"node agent rejects token":     {from: NodeAgent, err: code(401, 401), offline: true, want: verdict{fellBack: true, cooldown: true, agentDown: true}},
		"node agent not allowed":       {from: NodeAgent, err: ray.ErrAgentNotAllowed, want: verdict{fellBack: true, cooldown: true, agentDown: true}},
		"token withheld":               {from: NodeAgent, err: ray.ErrTokenWithheld, want: verdict{fellBack: true, cooldown: true, agentDown: true}},
		"node agent down for others":   {from: NodeAgent, err: errAgentDown, want: left},
		"not found once":               {from: NodeAgent, err: code(404, 404), wantFails: 1},
		"not found again":              {from: NodeAgent, err: code(404, 404), fails: 1, want: left, cooldown: transportCooldown},
		"new content between failures": {from: NodeAgent, err: code(404, 404), grew: true, fails: 1},
		"unsupported":                  {from: WebSocket, err: code(501, 501), want: left, cooldown: transportCooldown},
		"unsupported, last one":        {from: File, err: code(501, 501)},
		"upgrade refused":              {from: WebSocket, err: code(403, 403), want: verdict{refused: true}, wantFails: 1},
		"upgrade not found":            {from: WebSocket, err: code(404, 404), wantFails: 1},
		"upgrade fails for a while":    {from: WebSocket, err: code(503, 503), wantFails: 1},
		"closed":                       {from: WebSocket, err: errClosed, wantFails: 1},
		"no slot":                      {from: WebSocket, err: errNoSlot, want: verdict{fellBack: true}},
		"no slot, last one":            {from: WebSocket, err: errNoSlot, protocol: ProtocolWebSocket},
		"better transport":             {from: WebSocket, err: errBetterTransport, want: verdict{fellBack: true}},
		"replaced":                     {from: File, err: errReplaced, want: verdict{fellBack: true}},
		"run ended":                    {from: WebSocket, err: errRunEnded, want: verdict{fellBack: true}},
		"memory":                       {from: NodeAgent, err: writer.ErrMemoryPressure},
		"messages: framing":            {from: WebSocket, err: errFramingMismatch, messages: true},
		"messages: upgrade refused":    {from: WebSocket, err: code(403, 403), messages: true, want: verdict{fellBack: true, cooldown: true, refused: true}, cooldown: transportCooldown},
		"messages: upgrade not found":  {from: WebSocket, err: code(404, 404), messages: true, want: left, cooldown: transportCooldown},
		"messages: error frame":        {from: WebSocket, err: code(500, 0), messages: true, want: left, cooldown: transportCooldown},
		"messages: agent unreachable":  {from: WebSocket, err: code(500, 0), messages: true, offline: true},
		"messages: SSE error":          {from: SSE, err: code(500, 0), messages: true, want: left, cooldown: transportCooldown},
		"messages: SSE error, grew":    {from: SSE, err: code(500, 0), messages: true, grew: true},
		"messages: snapshot short":     {from: Snapshot, err: errSnapshotIncomplete, messages: true, settled: true, want: left, cooldown: transportCooldown},
		"messages: snapshot, last one": {from: Snapshot, err: errSnapshotIncomplete, messages: true},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.protocol == "" {
				tt.protocol = ProtocolAuto
			}
			c := allUsable(tt.protocol)
			c.messages, c.settled = tt.messages, tt.settled
			s := &selector{}
			s.transports[tt.from].fails = tt.fails
			got := s.record(tt.from, result{err: tt.err, grew: tt.grew, reachable: !tt.offline, content: 7}, c, now)
			if got != tt.want {
				t.Errorf("verdict %+v, want %+v", got, tt.want)
			}
			st := s.transports[tt.from]
			if cooldown := max(0, st.until.Sub(now)); cooldown != tt.cooldown || st.fails != tt.wantFails {
				t.Errorf("cooldown %v after %d failures, want %v and %d", cooldown, st.fails, tt.cooldown, tt.wantFails)
			}
			if closed := errors.Is(tt.err, errClosed); (st.ends == 1 && st.lastAt == 7) != closed {
				t.Errorf("%d closes at offset %d", st.ends, st.lastAt)
			}
		})
	}
}

func TestSelector_NoLog(t *testing.T) {
	notFound := &ray.Error{Code: 404}
	s := &selector{}
	if s.noLog(Snapshot, notFound, 0) || s.noLog(SSE, &ray.Error{Code: 503}, 0) {
		t.Error("no log after one response")
	}
	if !s.noLog(WebSocket, &ray.Error{Code: 500}, 0) {
		t.Error("a log after a snapshot and a stream that were not found")
	}
	if s.noLog(Snapshot, notFound, 1) {
		t.Error("no log, although content was read")
	}
}
