// Package raytest is a fake Ray head on loopback, for tests.
//
// It implements the part of Ray's dashboard API that raytap uses, and serves each
// driver log over Ray's three transports: the WebSocket tail, the node agent's files
// and /api/v0/logs/file. Its behaviour was measured on Ray 2.60.0; raytest's own tests
// compare it with recordings of real heads. It has Ray's limitations, too: Close 1000
// for any reason, no pong, text mode, 100 slots.
//
// A test drives it in Go:
//
//	head := raytest.New(t)
//	job := head.Submit("job-1", raytest.JobOptions{})
//	job.Print("step 1\n")
//	job.End("SUCCEEDED", 0)
//
// Each node has a log directory, whose files a test writes, rotates and moves
// (Node.WriteFile and others) and whose agent serves them, and workers
// (Node.SetWorkers).
//
// Faults are injected with Inject, CutTails, Down and Node.AgentDown; each is counted,
// so that a test can prove that it happened. All methods are safe for concurrent use.
package raytest
