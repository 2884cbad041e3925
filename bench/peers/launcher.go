package peers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// stopWait is how long a process may take to end after it was asked to.
	stopWait = 10 * time.Second
	// tailBytes of a log are shown where its process failed.
	tailBytes = 2 << 10
)

// ErrEnded says that a process ended before it was told to.
var ErrEnded = errors.New("process ended")

// Launcher starts processes from one thread that lives as long as the launcher
// does: the kernel ends the processes with the thread that started them, so none
// is left when the benchmark is killed.
type Launcher struct {
	dir   string // of logs
	jobs  chan func()
	ended chan struct{}

	mu      sync.Mutex // guards what follows
	running map[*Process]bool
}

// NewLauncher starts a launcher whose processes log into dir.
func NewLauncher(dir string) *Launcher {
	l := &Launcher{dir: dir, jobs: make(chan func()), ended: make(chan struct{}), running: make(map[*Process]bool)}
	go func() {
		defer close(l.ended)
		runtime.LockOSThread() // and never unlock: the thread ends here
		for job := range l.jobs {
			job()
		}
	}()
	return l
}

// Close stops all processes that still run, at once, and the launcher.
func (l *Launcher) Close() error {
	l.mu.Lock()
	var left []*Process
	for p := range l.running {
		left = append(left, p)
	}
	l.mu.Unlock()
	var errs []error
	var wg sync.WaitGroup
	for _, p := range left {
		wg.Go(func() { _ = p.Stop() })
	}
	wg.Wait()
	close(l.jobs)
	<-l.ended
	return errors.Join(errs...)
}

// Process is a running program.
type Process struct {
	name string
	log  string
	cmd  *exec.Cmd
	from *Launcher
	done chan struct{} // closed when it has ended

	began time.Time
}

// Command is what is started.
type Command struct {
	Name string // of the log
	Path string
	Args []string
	Env  []string // instead of the benchmark's own, if not nil
	Dir  string
}

// Start starts a program.
func (l *Launcher) Start(c Command) (*Process, error) {
	p := &Process{name: c.Name, log: filepath.Join(l.dir, c.Name+".log"), from: l, done: make(chan struct{})}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	p.cmd = exec.Command(c.Path, c.Args...) //nolint:gosec,noctx // a context would kill it before it can be stopped
	p.cmd.Env, p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = c.Env, c.Dir, out, out
	// A signal from the terminal goes to the benchmark alone, which then stops its
	// processes in order. nginx' master passes SIGTERM on to its workers.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	started := make(chan error)
	l.jobs <- func() {
		p.began = time.Now()
		started <- p.cmd.Start()
	}
	err = errors.Join(<-started, out.Close())
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	l.mu.Lock()
	l.running[p] = true
	l.mu.Unlock()
	go func() {
		_ = p.cmd.Wait() // how it ended is in its log
		l.mu.Lock()
		delete(l.running, p)
		l.mu.Unlock()
		close(p.done)
	}()
	return p, nil
}

// PID is the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Began is when it was started.
func (p *Process) Began() time.Time { return p.began }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Stop asks the process to end and kills it, with all of its group, if it does not.
func (p *Process) Stop() error {
	// An error says that it has ended, which is what was wanted.
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.NewTimer(stopWait)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
	}
	_ = syscall.Kill(-p.PID(), syscall.SIGKILL)
	<-p.done
	return fmt.Errorf("%s did not end within %v and was killed", p.name, stopWait)
}

// Tail is the end of what the process said.
func (p *Process) Tail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text[max(0, len(text)-tailBytes):]))
}

// Until calls ready every few milliseconds until it returns nil. It fails when the
// process ends or ctx does.
func (p *Process) Until(ctx context.Context, every time.Duration, ready func() error) error {
	pause := time.NewTicker(every)
	defer pause.Stop()
	for {
		why := ready()
		if why == nil {
			return nil
		}
		select {
		case <-pause.C:
		case <-p.done:
			return fmt.Errorf("%w: %s: %w\n%s", ErrEnded, p.name, why, p.Tail())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w: %w\n%s", p.name, context.Cause(ctx), why, p.Tail())
		}
	}
}
