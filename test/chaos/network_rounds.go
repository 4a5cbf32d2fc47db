package main

import "time"

// networkRounds returns the rounds with network faults: each transport, each fsync
// policy, frequent rotation, and in each round one kind of kill more often than the
// others.
func networkRounds() []options {
	common := []killPoint{anyTime, anyTime, startup}
	return []options{
		{
			name: "node_agent", protocol: "http", agents: "on", fsync: "100ms", interval: 2 * time.Second,
			maxSize: "64KiB", verifying: true, late: true, kills: append(common, inRotation, inRotation, unsaved),
		},
		{
			name: "websocket", protocol: "websocket", agents: "off", fsync: "never", interval: 500 * time.Millisecond,
			maxSize: "64KiB", gzip: true, kills: append(common, inRotation, unsaved, eventPending, eventPending),
		},
		{
			name: "file", protocol: "http", agents: "off", fsync: "always", interval: 200 * time.Millisecond,
			maxSize: "64KiB", verifying: true, late: true, kills: append(common, inRotation, unsaved, eventPending, afterSave, afterSave),
		},
		{
			name: "fallback", protocol: "auto", agents: "on", fsync: "100ms", interval: time.Second,
			maxSize: "128KiB", sessions: 2, kills: append(common, unsaved, eventPending, inRotation),
		},
		{
			name: "aggregated", protocol: "auto", agents: "on", fsync: "100ms", interval: 200 * time.Millisecond, aggregated: true,
			maxSize: "64KiB", kills: append(common, inRotation, unsaved, eventPending, afterSave),
		},
		{
			name: "full", protocol: "auto", agents: "on", fsync: "100ms", interval: 200 * time.Millisecond,
			maxSize: "64KiB", full: true, kills: append(common, unsaved, afterSave),
		},
	}
}
