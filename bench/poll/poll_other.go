//go:build !linux

package poll

import (
	"errors"
	"net"
	"time"
)

// Supported says whether there is a poller on this system.
const Supported = false

// Event says what can be done with a descriptor.
type Event struct {
	ID            int32
	Read, Written bool
}

// Poller is not there.
type Poller struct{}

// New fails.
func New() (*Poller, error) { return nil, errors.ErrUnsupported }

// Precise does nothing.
func Precise() {}

// Add fails.
func (p *Poller) Add(int, int32) error { return errors.ErrUnsupported }

// AlsoWritten fails.
func (p *Poller) AlsoWritten(int, int32, bool) error { return errors.ErrUnsupported }

// Wake does nothing.
func (p *Poller) Wake() {}

// Wait fails.
func (p *Poller) Wait(time.Duration) ([]Event, error) { return nil, errors.ErrUnsupported }

// Close does nothing.
func (p *Poller) Close() error { return nil }

// Socket is not there.
type Socket struct{}

// Take fails.
func Take(net.Conn) (*Socket, error) { return nil, errors.ErrUnsupported }

// FD is no descriptor.
func (s *Socket) FD() int { return -1 }

// Read fails.
func (s *Socket) Read([]byte) (int, error) { return 0, errors.ErrUnsupported }

// Write fails.
func (s *Socket) Write([]byte) (int, error) { return 0, errors.ErrUnsupported }

// Shut does nothing.
func (s *Socket) Shut() {}

// Close does nothing.
func (s *Socket) Close() error { return nil }
