package main

import "time"

// shapes are the rounds of a lap: all ways to read, all fsync policies, rotation
// by the second, and one kind of kill more often than the others in each.
func shapes() []options {
	some := []moment{anywhere, anywhere, young}
	return []options{
		{
			name: "agent", protocol: "http", agents: "on", fsync: "100ms", interval: 2 * time.Second,
			maxSize: "64KiB", verifying: true, late: true, moments: append(some, inRotation, inRotation, unsaved),
		},
		{
			name: "tail", protocol: "websocket", agents: "off", fsync: "never", interval: 500 * time.Millisecond,
			maxSize: "64KiB", gzip: true, moments: append(some, inRotation, unsaved, owing, owing),
		},
		{
			name: "file", protocol: "http", agents: "off", fsync: "always", interval: 200 * time.Millisecond,
			maxSize: "64KiB", verifying: true, late: true, moments: append(some, inRotation, unsaved, owing, afterSave, afterSave),
		},
		{
			name: "ladder", protocol: "auto", agents: "on", fsync: "100ms", interval: time.Second,
			maxSize: "128KiB", sessions: 2, moments: append(some, unsaved, owing, inRotation),
		},
		{
			name: "shaped", protocol: "auto", agents: "on", fsync: "100ms", interval: 200 * time.Millisecond, shaped: true,
			maxSize: "64KiB", moments: append(some, inRotation, unsaved, owing, afterSave),
		},
		{
			name: "full", protocol: "auto", agents: "on", fsync: "100ms", interval: 200 * time.Millisecond,
			maxSize: "64KiB", full: true, moments: append(some, unsaved, afterSave),
		},
	}
}
