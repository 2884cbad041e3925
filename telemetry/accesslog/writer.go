package accesslog

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// flushSize wakes the writer early, flushEvery bounds how late a line can be.
	flushSize  = 64 << 10
	flushEvery = time.Second
	// lastFlush bounds the final write to a pipe that nobody reads.
	lastFlush = 2 * time.Second
)

// Writer appends lines to one file. Lines queue in memory; one goroutine writes
// them in batches.
type Writer struct {
	path   string        // immutable
	limit  int           // immutable
	logger *slog.Logger  // immutable
	wake   chan struct{} // holds one token when flushSize is reached

	reopen                 atomic.Bool
	written, dropped, lost atomic.Uint64

	file    *os.File // owned by run
	owned   bool     // owned by run: false for the process's own stdout
	failing bool     // owned by run: the last write or open failed

	mu      sync.Mutex
	pending []byte
	spare   []byte
}

func newWriter(path string, limit int, logger *slog.Logger) *Writer {
	return &Writer{
		path: path, limit: limit, wake: make(chan struct{}, 1),
		logger: logger.With(slog.String("path", path)),
	}
}

// queue copies a line, or drops it where there is no room.
func (w *Writer) queue(line []byte) {
	w.mu.Lock()
	if len(w.pending)+len(line) > w.limit {
		w.mu.Unlock()
		w.dropped.Add(1)
		return
	}
	w.pending = append(w.pending, line...)
	full := len(w.pending) >= min(flushSize, w.limit/2)
	w.mu.Unlock()
	w.written.Add(1)
	if full {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// run flushes until ctx ends, and then once more.
func (w *Writer) run(ctx context.Context) {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	defer w.close()
	var dropped uint64
	for {
		select {
		case <-tick.C:
			w.checkRotation()
			dropped = w.warnDropped(dropped)
			w.flush(ctx)
		case <-w.wake:
			w.flush(ctx)
		case <-ctx.Done():
			w.flush(ctx)
			w.warnDropped(dropped)
			return
		}
	}
}

// flush writes what is queued.
func (w *Writer) flush(ctx context.Context) {
	w.mu.Lock()
	batch := w.pending
	w.pending, w.spare = w.spare[:0], nil
	w.mu.Unlock()
	if len(batch) > 0 {
		w.write(ctx, batch)
	}
	w.mu.Lock()
	if cap(batch) <= 2*flushSize { // a burst's buffer is not kept
		w.spare = batch[:0]
	}
	w.mu.Unlock()
}

// write puts a batch into the file. A pipe may be slow for as long as the process
// lives; from the moment that ctx ends its reader has lastFlush left.
func (w *Writer) write(ctx context.Context, batch []byte) {
	if w.reopen.Swap(false) {
		w.close()
	}
	if w.file == nil && !w.open() {
		w.lost.Add(uint64(len(batch)))
		return
	}
	for {
		// Fails for files that cannot wait, which need no deadline.
		_ = w.file.SetWriteDeadline(time.Now().Add(lastFlush))
		n, err := w.file.Write(batch)
		batch = batch[n:]
		switch {
		case err == nil:
			w.failing = false
			return
		case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil:
			continue
		default:
			w.lost.Add(uint64(len(batch)))
			w.fail("cannot write the access log", err)
			w.close()
			return
		}
	}
}

// fail logs the first failure of a series.
func (w *Writer) fail(message string, err error) {
	if !w.failing {
		w.logger.Error(message, slog.Any("error", err))
	}
	w.failing = true
}

func (w *Writer) open() bool {
	f, owned, err := openOutput(w.path)
	if err != nil {
		w.fail("cannot open the access log; lines are lost until it can be opened", err)
		return false
	}
	w.file, w.owned = f, owned
	return true
}

// openOutput opens a path for appending. The process's own streams are used as they
// are, except that a pipe is opened anew in non-blocking mode, which leaves the mode
// of the shared descriptor alone, so that a reader that stops cannot hold the
// process at shutdown.
func openOutput(path string) (f *os.File, owned bool, err error) {
	flags := os.O_WRONLY | os.O_APPEND | syscall.O_NONBLOCK
	stream := stdStream(path)
	if stream == nil {
		f, err = os.OpenFile(path, flags|os.O_CREATE, 0o640)
		return f, true, err
	}
	if info, statErr := stream.Stat(); statErr == nil && info.Mode()&os.ModeNamedPipe != 0 {
		if f, err = os.OpenFile(path, flags, 0); err == nil {
			return f, true, nil
		}
	}
	return stream, false, nil
}

func stdStream(path string) *os.File {
	switch path {
	case "/dev/stdout", "/proc/self/fd/1":
		return os.Stdout
	case "/dev/stderr", "/proc/self/fd/2":
		return os.Stderr
	default:
		return nil
	}
}

// checkRotation closes a file that is no longer what its path names.
func (w *Writer) checkRotation() {
	if w.file == nil || stdStream(w.path) != nil {
		return
	}
	named, err := os.Stat(w.path)
	if err != nil {
		w.close()
		return
	}
	if open, err := w.file.Stat(); err != nil || !os.SameFile(named, open) {
		w.close()
	}
}

func (w *Writer) close() {
	if w.file != nil && w.owned {
		if err := w.file.Close(); err != nil {
			w.logger.Error("cannot close the access log", slog.Any("error", err))
		}
	}
	w.file = nil
}

// warnDropped logs, at most once per tick, how many lines had no room.
func (w *Writer) warnDropped(before uint64) uint64 {
	now := w.dropped.Load()
	if now != before {
		w.logger.Warn("access log lines dropped: the output is slower than the traffic",
			slog.Uint64("lines", now-before))
	}
	return now
}
