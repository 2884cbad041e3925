//go:build !linux || race

package sock

import (
	"errors"
	"syscall"
	"unsafe"
)

// The race detector learns from these calls what happened before what.

func read(fd int, p []byte) (int, syscall.Errno) { return result(syscall.Read(fd, p)) }

func write(fd int, p []byte) (int, syscall.Errno) { return result(syscall.Write(fd, p)) }

func writev(fd int, v *Vector) (int, syscall.Errno) {
	return write(fd, unsafe.Slice(v.parts[0].Base, v.parts[0].Len))
}

func result(n int, err error) (int, syscall.Errno) {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return 0, errno
	}
	return n, 0
}
