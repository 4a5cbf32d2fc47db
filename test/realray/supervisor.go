//go:build linux

package realray

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
)

// supervisor is the caller's side of a supervisor process (see [Main]).
type supervisor struct {
	cmd *exec.Cmd
	in  io.WriteCloser

	mu  sync.Mutex // one request and its response at a time
	out *bufio.Reader

	stopOnce sync.Once
	stopErr  error
}

// startSupervisor starts a supervisor that removes dir at its end.
func startSupervisor(dir string) (*supervisor, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), supervisorEnv+"="+dir)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &supervisor{cmd: cmd, in: in, out: bufio.NewReader(out)}, nil
}

// start sends a request and waits for the response.
func (s *supervisor) start(q request) (response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := json.Marshal(q)
	if err != nil {
		return response{}, err
	}
	if _, err := s.in.Write(append(b, '\n')); err != nil {
		return response{}, fmt.Errorf("send to the supervisor: %w", err)
	}
	line, err := s.out.ReadBytes('\n')
	if err != nil {
		return response{}, fmt.Errorf("receive from the supervisor: %w", err)
	}
	var res response
	if err := json.Unmarshal(line, &res); err != nil {
		return response{}, err
	}
	if res.Error != "" {
		return res, errors.New(res.Error)
	}
	return res, nil
}

// closeInput closes the supervisor's input. The supervisor then kills its descendants
// and exits.
func (s *supervisor) closeInput() {
	_ = s.in.Close() // it may be closed already
}

// stop closes the input and waits for the supervisor. It may be called more than once.
func (s *supervisor) stop() error {
	s.stopOnce.Do(func() {
		s.closeInput()
		s.stopErr = s.cmd.Wait()
	})
	return s.stopErr
}
