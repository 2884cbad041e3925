package probes

import "net"

// Evict bounds a listener's connections.
func Evict(l net.Listener, most int) net.Listener { return evict(l, most) }
