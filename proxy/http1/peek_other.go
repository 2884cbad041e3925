//go:build !linux

package http1

import "net"

// peek finds nothing out where sockets cannot be peeked at.
type peek struct{}

func (p *peek) init(net.Conn) {}

func (p *peek) check() bool { return true }

// arrived leaves it to reading to find out.
func arrived(uintptr) bool { return true }
