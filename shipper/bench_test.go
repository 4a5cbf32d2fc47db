package shipper

import (
	"bytes"
	"fmt"
	"testing"

	"raytap/lines"
	"raytap/ray"
)

// benchLog is 160 lines of 200 bytes: what one read gives.
func benchLog() []byte {
	var b bytes.Buffer
	for i := range 160 {
		line := fmt.Sprintf(`2026-11-24 12:00:00,%03d INFO trainer.py:128 -- epoch 3 step %d: loss=0.%06d lr=3.00e-04 "tokens/s"=18%03d checkpoint=/mnt/data/run-7/ckpt-%06d`, i, i, i*77, i, i)
		for len(line) < 199 {
			line += " shard=1"
		}
		b.WriteString(line[:199] + "\n")
	}
	return b.Bytes()
}

// One line from bytes to its record: cut, hashed, encoded.
func BenchmarkLine(b *testing.B) {
	log := benchLog()
	enc := newEncoder(&Options{Cluster: "bench"}, "session_2026-11-24_12-00-00_000000_1",
		ray.Job{SubmissionID: "raysubmit_0000000000000000", JobID: "02000000", Metadata: map[string]string{"job_name": "train"}})
	c := lines.NewSplitter(256<<10, 0)
	buf := make([]byte, 0, 1<<20)
	emit := func(l lines.Line) error {
		buf = enc.AppendLine(buf, 1764000000000000000, l, 0)
		return nil
	}
	b.SetBytes(200)
	for i := 0; i < b.N; i += 160 {
		buf = buf[:0]
		if err := splitLines(c, log, emit); err != nil {
			b.Fatal(err)
		}
	}
}

// Cutting and hashing alone.
func BenchmarkCut(b *testing.B) {
	log := benchLog()
	c := lines.NewSplitter(256<<10, 0)
	b.SetBytes(200)
	for i := 0; i < b.N; i += 160 {
		if err := splitLines(c, log, func(lines.Line) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
