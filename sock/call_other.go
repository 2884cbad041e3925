//go:build !linux || race

package sock

import (
	"errors"
	"syscall"
)

// The race detector learns from these calls what happened before what.

func read(fd int, p []byte) (int, syscall.Errno) { return result(syscall.Read(fd, p)) }

func write(fd int, p []byte) (int, syscall.Errno) { return result(syscall.Write(fd, p)) }

func result(n int, err error) (int, syscall.Errno) {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return 0, errno
	}
	return n, 0
}
