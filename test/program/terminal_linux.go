package program

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Terminal is a pseudo terminal: what is written to it is typed, and what its process
// prints appears on Screen.
type Terminal struct {
	*os.File
	Screen Output
	slave  *os.File
	done   chan struct{} // closed when all output is on the screen
}

// NewTerminal opens a terminal of 24 lines with this number of columns, and skips the
// test where there are no pseudo terminals.
func NewTerminal(t testing.TB, columns uint16) *Terminal {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skip("no pseudo terminals: ", err)
	}
	master := os.NewFile(uintptr(fd), "ptmx")
	t.Cleanup(func() { master.Close() })
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns})
	}
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	term := &Terminal{File: master, slave: slave, done: make(chan struct{})}
	go func() {
		defer close(term.done)
		_, _ = io.Copy(&term.Screen, master) // ends when no process has the terminal open
	}()
	t.Cleanup(term.Detach)
	return term
}

// Attach makes the terminal the three standard streams of a process.
func (term *Terminal) Attach(cmd *exec.Cmd) {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = term.slave, term.slave, term.slave
}

// Detach closes the terminal after its processes have ended, and returns when all of
// their output is on the screen.
func (term *Terminal) Detach() {
	term.slave.Close()
	<-term.done
}
