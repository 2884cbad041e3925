//go:build !linux

package upstream

import (
	"context"
	"errors"
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
