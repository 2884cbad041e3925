package load

import (
	"context"
	"crypto/tls"
	"errors"
	"net/netip"
	"time"
)

// BulkShape is a number of bytes that go one way.
type BulkShape struct {
	Bytes    int64 // of all connections together
	Conns    int   // 1 if 0
	Download bool  // from an echo source instead of to an echo sink
	TLS      *tls.Config
}

// BulkResult is how fast they went.
type BulkResult struct {
	Bytes   int64 // acknowledged by the other end
	Elapsed time.Duration
}

// Gbit is the rate in 10^9 bits per second.
func (b BulkResult) Gbit() float64 {
	return float64(b.Bytes) * 8 / 1e9 / max(b.Elapsed.Seconds(), 1e-9)
}

// Bulk moves bytes over TCP, and checks that all have arrived.
func Bulk(ctx context.Context, addr netip.AddrPort, s BulkShape) (BulkResult, error) {
	return BulkResult{}, errors.ErrUnsupported
}
