// Package tail ships the logs of jobs: one Tail reads the log of one run over one transport
// at a time, from its start to its end, and passes records to the writer.
//
// Files, from the top down:
//
//   - tail.go: Tail, which waits for the log, reads, and decides what follows a read; end.go:
//     the end of a run; health.go: failures, retries, and when a log is lost
//   - job.go: what is known about the run; transport.go: the selector, a pure policy of which
//     transport comes next
//   - reader.go: what readers share; reader_*.go: one reader per transport
//   - pipeline.go: bytes to records, and the state of the log; events.go: event records
//   - cluster.go: what the tails of a cluster share; options.go: settings and clients
//
// The caller of Run owns the tail's goroutine. That goroutine owns the selector, the reader
// in use, the pipeline and the log's state; it alone calls them. Two other goroutines exist,
// and Run waits for each: one reads the open stream (readLoop, messageBuffer.fill) and
// passes its chunks on, the other runs one read on a stack of its own (onFreshStack) while
// the tail waits. Discovery calls Update, Supersede, Stop, Status and the like from other
// goroutines: they change the job, which is safe for concurrent use, and wake the tail.
// A Cluster is shared by all its tails and safe for concurrent use.
package tail
