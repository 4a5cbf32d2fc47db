// Package synapsetest is a fake Synapse agent on loopback, for tests.
//
// It implements the agent's whole API: lists, items and actions, a job's whole log, and
// both tails, WebSocket and SSE. The agent's server is not published; the fake sends what
// the published client (synapse-sdk 2026.2.17) accepts, and a test runs that client
// against it.
//
// A test drives it in Go:
//
//	a := synapsetest.New(t)
//	job := a.Submit("train-7", synapsetest.JobOptions{})
//	job.Print("step 1\n")
//	job.End("SUCCEEDED", 0)
//
// A job's MessageFormat sets how its log becomes messages. Faults are injected by Inject
// and CutTails; each is counted, so that a test can prove that it happened. All methods
// are safe for concurrent use.
package synapsetest
