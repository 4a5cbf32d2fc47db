// Package parse reads what a log line states about itself: its level, its
// timestamp, and the prefixes and colours around them.
//
// All functions are pure and safe for concurrent use. None retains or changes the
// line it is passed. None allocates, except AppendWithoutANSI to grow its first
// argument.
package parse
