//go:build linux

// Package realray starts a real Ray head for the end-to-end tests and the demo, and
// always stops it when the program exits.
//
// All processes of a Head are descendants of one supervisor process, which the program
// starts by running itself again (see [Main]). The supervisor adopts orphans, such as
// Ray's daemons after `ray start` has returned. It kills all of its descendants when its
// stdin ends: at [Head.Stop], and also when the program panics, is interrupted or is
// killed. It kills no other processes, so other Rays on the machine are safe.
//
// It needs Linux (child subreapers, /proc).
package realray
