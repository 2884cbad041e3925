package mtls

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// The prefixes of SDS names that stand for files, and the bundle of the system.
const (
	fileCertPrefix = "file-cert:"
	fileRootPrefix = "file-root:"
	systemRoots    = "file-root:system"
)

// filePoll is how often watched files are looked at. Polling follows the symlink
// swaps of Kubernetes volumes and of bind mounts alike, which inotify does not.
const filePoll = time.Second

// Secrets is the registry of live secrets by SDS name.
type Secrets struct {
	log *slog.Logger

	mu      sync.Mutex // guards what follows
	secrets map[string]*Secret
	files   []*file
	wake    chan struct{} // buffered; tells Run of the first file
}

// NewSecrets returns an empty registry. Run watches its files.
func NewSecrets(log *slog.Logger) *Secrets {
	return &Secrets{log: log, secrets: map[string]*Secret{}, wake: make(chan struct{}, 1)}
}

// Get returns the secret of that name, created empty if nobody asked before. The
// name of a file loads it at once; if that fails the secret stays empty, its Err
// says why, and Run tries again.
func (s *Secrets) Get(name string) *Secret {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sec, ok := s.secrets[name]; ok {
		return sec
	}
	sec := NewSecret(name)
	s.secrets[name] = sec
	s.bindLocked(sec, name)
	return sec
}

// Bind makes the secret of that name stand for the files of another name,
// "file-cert:<chain>~<key>" or "file-root:<path>": the workload's own secrets
// where its certificate is mounted. It is called once per name, before Run of a
// Source would write the secret.
func (s *Secrets) Bind(name, files string) *Secret {
	sec := s.Get(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bindLocked(sec, files)
	return sec
}

func (s *Secrets) bindLocked(sec *Secret, files string) {
	f, err := fileFor(sec, files)
	switch {
	case err != nil:
		sec.Fail(err)
	case f != nil:
		f.check(s.log)
		s.files = append(s.files, f)
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// All lists the secrets by name.
func (s *Secrets) All() []*Secret {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.secrets), func(a, b *Secret) int {
		return strings.Compare(a.name, b.name)
	})
}

// Run watches the files until ctx ends.
func (s *Secrets) Run(ctx context.Context) error {
	select {
	case <-s.wake:
	case <-ctx.Done():
		return nil
	}
	tick := time.NewTicker(filePoll)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		s.mu.Lock()
		files := s.files
		s.mu.Unlock()
		for _, f := range files {
			f.check(s.log)
		}
	}
}

// file keeps one secret equal to one or two files.
type file struct {
	secret *Secret
	paths  []string
	build  func(contents [][]byte) (*Material, error)

	mu     sync.Mutex // guards what follows; Get and Run both check
	loaded []stamp    // of the files that the material came from
	failed []stamp    // of the files that could not be used, already logged
}

// stamp tells one version of a file from the next.
type stamp struct {
	name    string
	size    int64
	modTime time.Time
	inode   uint64
}

// fileFor returns nil for a name that does not stand for files.
func fileFor(sec *Secret, name string) (*file, error) {
	switch {
	case name == systemRoots:
		m, err := SystemTrust()
		if err == nil {
			sec.Update(m)
		}
		return nil, err
	case strings.HasPrefix(name, fileCertPrefix):
		chain, key, ok := strings.Cut(name[len(fileCertPrefix):], "~")
		if !ok || chain == "" || key == "" {
			return nil, fmt.Errorf("secret name %q: want file-cert:<chain>~<key>", name)
		}
		return &file{secret: sec, paths: []string{chain, key}, build: func(c [][]byte) (*Material, error) {
			return NewKeyPair(c[0], c[1])
		}}, nil
	case strings.HasPrefix(name, fileRootPrefix):
		path := name[len(fileRootPrefix):]
		if path == "" {
			return nil, fmt.Errorf("secret name %q: want file-root:<path>", name)
		}
		return &file{secret: sec, paths: []string{path}, build: func(c [][]byte) (*Material, error) {
			return NewTrust(c[0])
		}}, nil
	}
	return nil, nil
}

// check loads the files if they changed. A pair that does not fit together is
// half-written: the old material stays, and the next check tries again.
func (f *file) check(log *slog.Logger) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, err := stamps(f.paths) // before reading: a later write shows next time
	if err == nil {
		if slices.Equal(now, f.loaded) {
			return
		}
		var m *Material
		if m, err = f.load(); err == nil {
			f.loaded, f.failed = now, nil
			if f.secret.Update(m) {
				log.Info("loaded secret from files", "secret", f.secret.name, "notAfter", m.NotAfter, "skipped", m.Skipped)
			}
			return
		}
	}
	if f.secret.Err() != nil && slices.Equal(now, f.failed) {
		return
	}
	f.failed = now
	f.secret.Fail(err)
	log.Warn("cannot load secret from files, keeping what was there", "secret", f.secret.name, "err", err)
}

func (f *file) load() (*Material, error) {
	contents := make([][]byte, len(f.paths))
	for i, p := range f.paths {
		b, err := readFile(p)
		if err != nil {
			return nil, err
		}
		contents[i] = b
	}
	m, err := f.build(contents)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", strings.Join(f.paths, " and "), err)
	}
	return m, nil
}

func stamps(paths []string) ([]stamp, error) {
	all := make([]stamp, len(paths))
	for i, p := range paths {
		st, err := os.Stat(p)
		if err != nil {
			return nil, err
		}
		all[i] = stamp{name: p, size: st.Size(), modTime: st.ModTime(), inode: inode(st)}
	}
	return all, nil
}

// readFile refuses what is too large and what is not a regular file: reading a
// pipe would block.
func readFile(path string) (b []byte, err error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	fd, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, fd.Close()) }()
	b, err = io.ReadAll(io.LimitReader(fd, maxPEM+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return b, nil
}
