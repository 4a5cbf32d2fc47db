//go:build linux

// Package realray starts a real Ray head for the end-to-end tests and the
// demo, and takes it down again whatever becomes of the program that asked.
//
// Everything that a Head starts is a descendant of one keeper process, which
// the program starts by running itself again (see [Main]). The keeper adopts
// orphans, as Ray's daemons are once `ray start` has returned, and kills all of
// its descendants when its standard input ends: on [Head.Stop], and also when
// the program panics, is interrupted or is killed. Nothing else is ever
// killed, so other Rays on the machine are safe.
//
// It needs Linux (child subreapers, /proc).
package realray
