//go:build !linux

package upstream

import (
	"context"
	"errors"
	"net"
	"syscall"
)

// poller exists on Linux only; elsewhere ended connections are noticed when they
// are taken from their pool.
type poller struct{}

func newPoller() (*poller, error) { return nil, errors.ErrUnsupported }

func (*poller) add(uintptr, uint64) error { return errors.ErrUnsupported }

func (*poller) wait() ([]uint64, error) { return nil, errors.ErrUnsupported }

func (*poller) close() error { return nil }

func bindWithoutPort(context.Context, string, string, syscall.RawConn) error { return nil }

// hangup exists on Linux only.
type hangup struct{}

func newHangup(net.Conn) *hangup { return nil }

func (*hangup) check() bool { return false }
