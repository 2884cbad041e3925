//go:build !linux

package http1

// untaken reports whether it is known that no byte of the request was taken.
func (c *ClientConn) untaken(int64) bool { return false }
