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

// keeper is the caller's side of a keeper process (see [Main]).
type keeper struct {
	cmd *exec.Cmd
	in  io.WriteCloser

	mu  sync.Mutex // one order and its answer at a time
	out *bufio.Reader

	stopOnce sync.Once
	stopErr  error
}

// startKeeper starts a keeper that removes dir when it ends.
func startKeeper(dir string) (*keeper, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), keeperEnv+"="+dir)
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
	return &keeper{cmd: cmd, in: in, out: bufio.NewReader(out)}, nil
}

// tell gives an order and waits for its answer.
func (k *keeper) tell(o order) (answer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	b, err := json.Marshal(o)
	if err != nil {
		return answer{}, err
	}
	if _, err := k.in.Write(append(b, '\n')); err != nil {
		return answer{}, fmt.Errorf("the keeper is gone: %w", err)
	}
	line, err := k.out.ReadBytes('\n')
	if err != nil {
		return answer{}, fmt.Errorf("the keeper is gone: %w", err)
	}
	var a answer
	if err := json.Unmarshal(line, &a); err != nil {
		return answer{}, err
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}

// hangUp ends the keeper's input, which makes it kill all that it started.
func (k *keeper) hangUp() {
	_ = k.in.Close() // closed already is fine
}

// stop hangs up and waits for the keeper's end. It may be called again.
func (k *keeper) stop() error {
	k.stopOnce.Do(func() {
		k.hangUp()
		k.stopErr = k.cmd.Wait()
	})
	return k.stopErr
}
