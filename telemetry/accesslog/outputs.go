package accesslog

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// Defaults of OutputsConfig.
const (
	DefaultQueue = 1 << 20
	DefaultFiles = 16
)

// OutputsConfig is what all access logs of the process share.
type OutputsConfig struct {
	Logger *slog.Logger
	// Environment answers HOSTNAME and ENVIRONMENT.
	Environment Environment
	// Queue bounds the bytes that wait for one file; 0 means DefaultQueue.
	Queue int
	// Files bounds how many files may be open; 0 means DefaultFiles.
	Files int
}

// Outputs owns the files of all access logs: one Writer for each path, and their
// goroutines.
type Outputs struct {
	config OutputsConfig // immutable
	opened chan *Writer  // sent by Open, received by Run; has room for every file
	lines  sync.Pool

	mu       sync.Mutex
	writers  map[string]*Writer
	reported []string
}

// NewOutputs returns outputs without any file.
func NewOutputs(c OutputsConfig) *Outputs {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Queue <= 0 {
		c.Queue = DefaultQueue
	}
	if c.Files <= 0 {
		c.Files = DefaultFiles
	}
	return &Outputs{
		config:  c,
		opened:  make(chan *Writer, c.Files),
		writers: make(map[string]*Writer),
	}
}

// Open returns the writer of a path, and makes it at the first call. Lines that are
// queued before Run are written once it runs.
func (o *Outputs) Open(path string) (*Writer, error) {
	if path == "" || !filepath.IsAbs(path) || strings.ContainsRune(path, 0) {
		return nil, fmt.Errorf("access log path %q is not an absolute path", path)
	}
	path = filepath.Clean(path)
	o.mu.Lock()
	defer o.mu.Unlock()
	if w, ok := o.writers[path]; ok {
		return w, nil
	}
	if len(o.writers) >= o.config.Files {
		return nil, fmt.Errorf("access log %s: %d files are open already, which is the limit", path, len(o.writers))
	}
	w := newWriter(path, o.config.Queue, o.config.Logger)
	o.writers[path] = w
	o.opened <- w // never waits: there is room for every file
	return w, nil
}

// Run writes until ctx ends, then once more what is queued, and returns when every
// file is closed.
func (o *Outputs) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	for {
		select {
		case w := <-o.opened:
			running.Go(func() { w.run(ctx) })
		case <-ctx.Done():
			for {
				select {
				case w := <-o.opened:
					running.Go(func() { w.run(ctx) })
				default:
					return nil
				}
			}
		}
	}
}

// Reopen makes every file be opened anew at its next write, for a log rotation
// that announces itself. A file that was renamed or removed is noticed without it.
func (o *Outputs) Reopen() {
	for _, w := range o.all() {
		w.reopen.Store(true)
	}
}

// Counts are the totals of all files.
type Counts struct {
	// Written and Dropped count lines that were queued, and those for which the
	// queue had no room.
	Written, Dropped uint64
	// Lost counts bytes that could not be written.
	Lost uint64
}

// Counts adds up what happened to the lines so far.
func (o *Outputs) Counts() Counts {
	var sum Counts
	for _, w := range o.all() {
		sum.Written += w.written.Load()
		sum.Dropped += w.dropped.Load()
		sum.Lost += w.lost.Load()
	}
	return sum
}

func (o *Outputs) all() []*Writer {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := make([]*Writer, 0, len(o.writers))
	for _, w := range o.writers {
		all = append(all, w)
	}
	return all
}

// report says once per process which operators always render as absent.
func (o *Outputs) report(f *Format) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, name := range f.unanswered {
		if slices.Contains(o.reported, name) {
			continue
		}
		o.reported = append(o.reported, name)
		o.config.Logger.Warn("access log operator is not answered and renders as absent",
			slog.String("operator", name))
	}
}
