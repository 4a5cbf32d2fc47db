// Package parse reads what a log line states about itself: its level, its
// timestamp, and the prefixes and colours around them.
//
// All functions are pure and safe for concurrent use. None keeps or changes the
// line that it gets, and none allocates.
package parse
