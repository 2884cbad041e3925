package echo

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"time"
)

// Child serves as a process of its own: it reads a line with a Config from stdin, writes
// one with kinds and addresses, and ends with ctx or the end of stdin.
func Child(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	in := bufio.NewReader(stdin)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	var c Config
	if err := json.Unmarshal(line, &c); err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := Start(ctx, c)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := json.NewEncoder(stdout).Encode(s.addrs); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() { // joined by the end of stdin, or with the process
		_, _ = io.Copy(io.Discard, in)
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
	return nil
}

// Process is servers in a process of their own.
type Process struct {
	Addrs map[Kind]netip.AddrPort

	command *exec.Cmd
	stdin   io.Closer
}

// spawnTime bounds how long a child may take to listen, and to end.
const spawnTime = 10 * time.Second

// Spawn runs a program that calls Child.
func Spawn(ctx context.Context, c Config, program string, args ...string) (*Process, error) {
	if c.TLS != nil {
		return nil, errors.New("no TLS in a process of its own")
	}
	config, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	p := &Process{command: exec.CommandContext(ctx, program, args...)}
	p.command.Stderr = os.Stderr
	p.command.WaitDelay = spawnTime
	stdin, err := p.command.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := p.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.stdin = stdin
	if err := p.command.Start(); err != nil {
		return nil, err
	}
	timer := time.AfterFunc(spawnTime, func() { _ = p.command.Process.Kill() })
	defer timer.Stop()
	_, err = stdin.Write(append(config, '\n'))
	if err == nil {
		err = json.NewDecoder(stdout).Decode(&p.Addrs)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the backend: %w", err), p.Close())
	}
	return p, nil
}

// PID is that of the process.
func (p *Process) PID() int { return p.command.Process.Pid }

// Close ends the process and waits for it.
func (p *Process) Close() error {
	timer := time.AfterFunc(spawnTime, func() { _ = p.command.Process.Kill() })
	defer timer.Stop()
	return errors.Join(p.stdin.Close(), p.command.Wait())
}
