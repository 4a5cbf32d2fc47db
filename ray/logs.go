package ray

import (
	"errors"
	"fmt"
	"io"
)

// ErrTransportNotAllowed is in the chain of an error that says that a way to a log must
// not be used, by configuration or because its address is not to be trusted:
// nothing was sent there. Another way may serve.
var ErrTransportNotAllowed = errors.New("this way to the log must not be used")

// Why a node's agent must not be asked. Each is an ErrTransportNotAllowed.
var (
	// ErrTokenWithheld: the cluster's token would have to be shown at an address that is
	// not configured for it.
	ErrTokenWithheld = fmt.Errorf("the token must not be shown there: %w", ErrTransportNotAllowed)
	// ErrAgentsDisabled: the configuration says that no node agent is asked.
	ErrAgentsDisabled = fmt.Errorf("node agents are switched off: %w", ErrTransportNotAllowed)
	// ErrAgentNotAllowed: the address is outside the networks that are configured.
	ErrAgentNotAllowed = fmt.Errorf("the address is not allowed: %w", ErrTransportNotAllowed)
	// ErrAgentNotAlive: no live node of the cluster has the address.
	ErrAgentNotAlive = fmt.Errorf("no live node has the address: %w", ErrTransportNotAllowed)
	// ErrAgentAddress: Ray gives no address that can be used, or none yet.
	ErrAgentAddress = fmt.Errorf("the address cannot be used: %w", ErrTransportNotAllowed)
)

// LogRef names one driver log: where it lies and whose it is.
type LogRef struct {
	SubmissionID string
	NodeID       string // the driver's node; "" where not known
	AgentURL     string // the node agent's base URL; "" where not known
}

// LogRef names the job's driver log.
func (j Job) LogRef() LogRef {
	return LogRef{SubmissionID: j.SubmissionID, NodeID: j.DriverNodeID, AgentURL: j.DriverAgentURL}
}

// LogStream is a live stream of a log's bytes from its first byte.
//
// Read gives bytes of one message at the most, and blocks until some come.
// io.EOF means that the stream ended: which is a question, not an answer (Ray
// closes the tail of a finished job and of one that it failed to read alike).
// The context given on opening governs the whole stream; Close may be called
// at any time, from any goroutine, and ends a blocked Read.
type LogStream interface {
	io.ReadCloser
	// Messages counts the messages (WebSocket frames, SSE events) begun so far.
	// It is called from the reading goroutine.
	Messages() uint64
}

// LogRange is a stretch of a log's raw bytes. The caller closes Body.
type LogRange struct {
	// Body holds the bytes from Offset on; it ends with io.EOF where the file
	// ended, with another error where the answer was cut short.
	Body io.ReadCloser
	// Offset is the raw offset of Body's first byte.
	Offset int64
	// Size is the file's size in bytes when it was answered; less than Offset
	// where the file is shorter than asked, and then Body is empty.
	Size int64
}
