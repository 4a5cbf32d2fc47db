// Package synapsetest is a fake Synapse agent on loopback, for tests.
//
// It speaks the agent's whole API: lists, items and deeds, a job's whole log,
// and both tails, WebSocket and SSE. The agent's server is not published; what
// the fake says is what its published client (synapse-sdk 2026.2.17) accepts,
// and a test runs that client against it.
//
// A test drives it in Go:
//
//	a := synapsetest.New(t)
//	job := a.Submit("train-7", synapsetest.JobOptions{})
//	job.Print("step 1\n")
//	job.End("SUCCEEDED", 0)
//
// How messages are cut and spelled is a job's Shape, which may change while it
// runs. Faults are put in place by Inject and CutTails; each is counted, so that
// a test can prove that it happened. All methods may be called from any
// goroutine.
package synapsetest
