package sock

import (
	"io"
	"syscall"
	"unsafe"
)

// maxParts is how many parts a Vector has room for.
const maxParts = 32

// Vector is what one call writes from many places. The zero value is empty.
type Vector struct {
	parts [maxParts]syscall.Iovec
	count int
	size  int
}

// Add appends p, and reports false where there is no room for it. Nothing may be done
// to p until Write.
func (v *Vector) Add(p []byte) bool {
	switch {
	case len(p) == 0:
		return true
	case v.count == maxParts:
		return false
	}
	v.parts[v.count].Base = unsafe.SliceData(p)
	v.parts[v.count].SetLen(len(p))
	v.count++
	v.size += len(p)
	return true
}

// Len is the number of bytes.
func (v *Vector) Len() int { return v.size }

// Write gives a socket what it takes of a Vector that is not empty, which is used up
// thereby; syscall.EAGAIN says that it takes nothing now.
func (v *Vector) Write(fd int) (int, error) {
	for {
		n, errno := writev(fd, v)
		if errno != syscall.EINTR {
			return outcome("writev", n, errno, io.ErrUnexpectedEOF)
		}
	}
}
