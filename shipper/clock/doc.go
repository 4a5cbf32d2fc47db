// Package clock measures durations in a way that a step of the wall clock, a suspended
// process and a single wrong response of a cluster do not distort.
package clock
