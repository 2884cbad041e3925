package launch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// ErrClosed is returned by Start after Close.
var ErrClosed = errors.New("starter is closed")

// Starter starts helper processes from one thread of its own.
type Starter struct {
	// immutable
	helper string
	jobs   chan func()
	quit   chan struct{}
	gone   chan struct{}

	mu      sync.Mutex
	running map[*Process]struct{} // guarded by mu
	closed  bool                  // guarded by mu
}

// NewStarter returns a Starter that runs the helper program at this path, which
// must call Decode and Exec on its second argument when its first is "run".
func NewStarter(helper string) *Starter {
	s := &Starter{
		helper: helper, jobs: make(chan func()), quit: make(chan struct{}), gone: make(chan struct{}),
		running: map[*Process]struct{}{},
	}
	go s.loop()
	return s
}

// loop owns the thread whose end would kill all children: it never unlocks it.
func (s *Starter) loop() {
	runtime.LockOSThread()
	defer close(s.gone)
	for {
		select {
		case job := <-s.jobs:
			job()
		case <-s.quit:
			return
		}
	}
}

// Start starts the program of spec with stdout and stderr going to out.
func (s *Starter) Start(spec *Spec, out *os.File) (*Process, error) {
	return s.start(spec, &exec.Cmd{Stdout: out, Stderr: out})
}

func (s *Starter) start(spec *Spec, cmd *exec.Cmd) (*Process, error) {
	text, err := spec.encode()
	if err != nil {
		return nil, err
	}
	cmd.Path, cmd.Args = s.helper, []string{s.helper, "run", text}
	cmd.Env = []string{} // the helper needs none and exec sets the program's
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p := &Process{cmd: cmd, done: make(chan struct{})}

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	started := make(chan error, 1)
	s.jobs <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Argv[0], err)
	}
	s.running[p] = struct{}{}
	go func() {
		p.err = cmd.Wait()
		s.forget(p)
		close(p.done)
	}()
	return p, nil
}

// Run starts the program of spec and waits for its end; if ctx ends first the
// program is killed.
func (s *Starter) Run(ctx context.Context, spec *Spec, stdout, stderr io.Writer) error {
	p, err := s.start(spec, &exec.Cmd{Stdout: stdout, Stderr: stderr, WaitDelay: time.Second})
	if err != nil {
		return err
	}
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return errors.Join(ctx.Err(), p.Kill())
	}
}

func (s *Starter) forget(p *Process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.running, p)
}

// Close kills what still runs, waits for it and ends the thread.
func (s *Starter) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	left := make([]*Process, 0, len(s.running))
	for p := range s.running {
		left = append(left, p)
	}
	s.mu.Unlock()

	var errs []error
	for _, p := range left {
		errs = append(errs, p.Kill())
	}
	close(s.quit)
	<-s.gone
	return errors.Join(errs...)
}

// Process is a running or ended program.
type Process struct {
	cmd  *exec.Cmd     // immutable once started
	done chan struct{} // closed by the waiter
	err  error         // valid after done
}

// PID returns the process id, which is the program's own.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Running reports whether the process has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Err returns how the process ended; it is nil while it runs.
func (p *Process) Err() error {
	if p.Running() {
		return nil
	}
	return p.err
}

// Signal sends a signal; a process that has ended is no error.
func (p *Process) Signal(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// killWait bounds the wait for a killed process to be gone.
const killWait = 10 * time.Second

// Kill ends the process at once and waits until it is gone.
func (p *Process) Kill() error {
	if !p.Running() {
		return nil
	}
	return p.Stop(syscall.SIGKILL, killWait)
}

// Stop sends sig and waits; after the grace period it kills.
func (p *Process) Stop(sig os.Signal, grace time.Duration) error {
	if err := p.Signal(sig); err != nil {
		return err
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
	}
	if sig == syscall.SIGKILL {
		return fmt.Errorf("process %d does not die", p.PID())
	}
	return errors.Join(fmt.Errorf("process %d ignored %v for %v", p.PID(), sig, grace), p.Kill())
}
