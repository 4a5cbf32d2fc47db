package fake

import "encoding/binary"

const (
	opText  = 0x1
	opClose = 0x8
)

// AppendText appends a WebSocket text message: one frame, unmasked and final.
func AppendText(b, payload []byte) []byte { return appendFrame(b, opText, payload) }

// CloseFrame returns a Close frame with a code and no reason.
func CloseFrame(code int) []byte {
	return appendFrame(nil, opClose, binary.BigEndian.AppendUint16(nil, uint16(code)))
}

func appendFrame(b []byte, opcode byte, payload []byte) []byte {
	b = append(b, 0x80|opcode)
	switch n := len(payload); {
	case n < 126:
		b = append(b, byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	return append(b, payload...)
}
