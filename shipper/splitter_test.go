package shipper

import "raytap/lines"

// splitLines calls do with each line that a chunk completes.
func splitLines(s *lines.Splitter, chunk []byte, do func(lines.Line) error) error {
	s.Write(chunk)
	for {
		if _, ok := s.Next(); !ok {
			s.Keep()
			return nil
		}
		if err := do(s.Line()); err != nil {
			return err
		}
	}
}

// lastLine calls do with the partial line, if there is one.
func lastLine(s *lines.Splitter, do func(lines.Line) error) error {
	if _, ok := s.Flush(); !ok {
		return nil
	}
	err := do(s.Line())
	s.Drop()
	return err
}
