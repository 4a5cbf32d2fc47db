package shipper

import (
	"testing"

	"raytap/lines"
	"raytap/lines/linestest"
	"raytap/shipper/record"
)

// One line from bytes to its record: split, hashed, encoded.
func BenchmarkLine(b *testing.B) {
	log := linestest.BenchLog()
	enc := record.NewEncoder(record.Options{Cluster: "bench", Session: "session_2026-11-24_12-00-00_000000_1",
		SubmissionID: "raysubmit_0000000000000000", JobID: "02000000", JobName: "train"})
	c := lines.NewSplitter(256<<10, 0)
	buf := make([]byte, 0, 1<<20)
	emit := func(l lines.Line) error {
		buf = enc.AppendLine(buf, 1764000000000000000, l, 0)
		return nil
	}
	b.SetBytes(200)
	for i := 0; i < b.N; i += 160 {
		buf = buf[:0]
		if err := c.Each(log, emit); err != nil {
			b.Fatal(err)
		}
	}
}

// Splitting and hashing only.
func BenchmarkSplit(b *testing.B) {
	log := linestest.BenchLog()
	c := lines.NewSplitter(256<<10, 0)
	b.SetBytes(200)
	for i := 0; i < b.N; i += 160 {
		if err := c.Each(log, func(lines.Line) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
