package ray

import (
	"io"
	"time"
)

// FileStat describes a file in a node's log directory when its node agent answered.
type FileStat struct {
	Size int64 // bytes
	// ETag identifies the content, as the agent sends it, with its quotes. Ray's is made
	// of the time of the last write and the size (2.60.0: hex(ns)-hex(size)), so it
	// stays when the file is renamed. "" if the agent sends none.
	ETag     string
	Modified time.Time // zero if unknown; rounded up to a second (aiohttp 3.14.5)
}

// FilePart is a range of a file's raw bytes. The caller closes Body.
type FilePart struct {
	// Body holds the bytes from Offset on. It ends with io.EOF at the end of the range,
	// and with another error if the response is incomplete. It is empty if the file is
	// not longer than where the range begins.
	Body   io.ReadCloser
	Offset int64 // of Body's first byte in the file
	// FileStat is that of the file as it was opened. For an empty Body only its size is
	// known.
	FileStat
}

// FileIndex lists the files of one directory of a node's logs.
type FileIndex struct {
	Names []string // without directories, in the agent's order; each is a plain file name
	// Truncated reports that the index was longer than what is read of one: names are
	// missing at its end.
	Truncated bool
}
