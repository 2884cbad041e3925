package mtls

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// The SDS names of the workload's own secrets.
const (
	// WorkloadCert names the workload's key pair.
	WorkloadCert = "default"
	// WorkloadRoots names the mesh's trust bundle.
	WorkloadRoots = "ROOTCA"
)

// ErrNoMaterial means that a secret has no content yet: nothing can be proven or
// verified with it, so the handshake is refused.
var ErrNoMaterial = errors.New("secret is not loaded yet")

// Secret is live: a name and the material it currently stands for. It has one
// writer: the Source, the file watcher or the compiler.
type Secret struct {
	name string // immutable

	material atomic.Pointer[Material]
	peers    identities // identities seen by handshakes that used this secret

	mu         sync.Mutex    // guards what follows
	generation uint64        // counts updates that changed something
	changed    chan struct{} // closed at the next change; nil until asked for
	err        error         // why the last load failed
}

// NewSecret returns a secret without material, outside of any registry.
func NewSecret(name string) *Secret { return &Secret{name: name} }

// Name is the SDS name.
func (s *Secret) Name() string { return s.name }

// Load returns the current material, or nil while there is none.
func (s *Secret) Load() *Material { return s.material.Load() }

// Update stores m and reports whether that changed anything: equal certificates
// keep the old material, so that what was cached for it stays valid.
func (s *Secret) Update(m *Material) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = nil
	if m == nil {
		return false
	}
	if old := s.material.Load(); old != nil && old.equal(m) {
		return false
	}
	s.material.Store(m)
	s.generation++
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
	return true
}

// Fail notes why newer material could not be loaded; the old one stays.
func (s *Secret) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// Err is why the last load failed, or nil after a good one.
func (s *Secret) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Generation counts the changes so far; zero means no material.
func (s *Secret) Generation() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.generation
}

// Changed returns a channel that is closed at the next change. Ask for it before
// Load, or a change in between is missed.
func (s *Secret) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}

// Wait returns once there is material, or with an error when ctx ends first.
func (s *Secret) Wait(ctx context.Context) error {
	for {
		changed := s.Changed()
		if s.Load() != nil {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for secret %q: %w", s.name, errors.Join(ctx.Err(), s.Err()))
		}
	}
}

// get is Load for a handshake: a missing secret is an error that names it.
func (s *Secret) get(trust bool) (*Material, error) {
	m := s.Load()
	if m == nil {
		err := ErrNoMaterial
		if why := s.Err(); why != nil {
			err = fmt.Errorf("%w (%w)", ErrNoMaterial, why)
		}
		return nil, fmt.Errorf("secret %q: %w", s.name, err)
	}
	if m.Trust() != trust {
		return nil, fmt.Errorf("secret %q holds the wrong kind of material", s.name)
	}
	return m, nil
}
