//go:build !linux

package upstream

import (
	"context"
	"syscall"
)

func bindWithoutPort(context.Context, string, string, syscall.RawConn) error { return nil }
