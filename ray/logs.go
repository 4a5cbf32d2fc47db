package ray

import (
	"errors"
	"fmt"
	"io"
)

// ErrTransportNotAllowed is in the chain of an error if a transport must not be used,
// because the configuration forbids it or its address is not trusted: nothing was
// sent. Another transport may work.
var ErrTransportNotAllowed = errors.New("transport not allowed")

// Why a node agent must not be queried. Each is an ErrTransportNotAllowed.
var (
	// ErrTokenWithheld: the cluster's token would be sent to an address that is not
	// configured for it.
	ErrTokenWithheld = fmt.Errorf("token not allowed for this address: %w", ErrTransportNotAllowed)
	// ErrAgentsDisabled: the configuration disables node agents.
	ErrAgentsDisabled = fmt.Errorf("node agents are disabled: %w", ErrTransportNotAllowed)
	// ErrAgentNotAllowed: the address is outside the configured networks.
	ErrAgentNotAllowed = fmt.Errorf("address not allowed: %w", ErrTransportNotAllowed)
	// ErrAgentNotAlive: no node of the cluster that is alive has the address.
	ErrAgentNotAlive = fmt.Errorf("no node that is alive has the address: %w", ErrTransportNotAllowed)
	// ErrAgentAddress: Ray reports no usable address, or none yet.
	ErrAgentAddress = fmt.Errorf("unusable address: %w", ErrTransportNotAllowed)
)

// LogRef identifies one driver log and where it is stored.
type LogRef struct {
	SubmissionID string
	NodeID       string // the driver's node; "" if unknown
	AgentURL     string // the node agent's base URL; "" if unknown
}

// FileName returns the name of the log's file in the log directory of its node.
func (r LogRef) FileName() string { return "job-driver-" + r.SubmissionID + ".log" }

// LogRef returns a reference to the job's driver log.
func (j Job) LogRef() LogRef {
	return LogRef{SubmissionID: j.SubmissionID, NodeID: j.DriverNodeID, AgentURL: j.DriverAgentURL}
}

// LogStream is a live stream of a log's bytes from its first byte.
//
// Read returns bytes of at most one message, and blocks until some arrive. io.EOF
// means that the stream ended, not that the log is complete: Ray closes the tail of a
// finished job and of one that it failed to read in the same way. The context given on
// opening applies to the whole stream. Close may be called at any time, from any
// goroutine, and ends a blocked Read.
type LogStream interface {
	io.ReadCloser
	// Messages returns how many messages (WebSocket frames, SSE events) have begun.
	// It is called by the reading goroutine.
	Messages() uint64
}

// LogRange is a range of a log's raw bytes. The caller closes Body.
type LogRange struct {
	// Body holds the bytes from Offset on. It ends with io.EOF at the end of the file,
	// and with another error if the response is incomplete.
	Body io.ReadCloser
	// Offset is the offset of Body's first byte in the file.
	Offset int64
	// Size is the file's size in bytes when the server responded. It is less than
	// Offset, and Body empty, if the file is shorter than requested.
	Size int64
}
