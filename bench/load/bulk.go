package load

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// bulkPiece is what one system call moves at most.
const bulkPiece = 256 << 10

// BulkShape is a number of bytes that go one way.
type BulkShape struct {
	Bytes    int64 // of all connections together
	Conns    int   // 1 if 0
	Download bool  // from an echo source instead of to an echo sink
	TLS      *tls.Config

	Begin, End func() // called around the measured part
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
	s.Conns = max(s.Conns, 1)
	if s.Bytes < int64(s.Conns) {
		return BulkResult{}, fmt.Errorf("%w: %d bytes", ErrShape, s.Bytes)
	}
	conns := make([]net.Conn, s.Conns)
	defer func() {
		for _, c := range conns {
			if c != nil {
				_ = c.Close()
			}
		}
	}()
	err := inParallel(s.Conns, func(i int) (err error) {
		conns[i], err = dial(ctx, addr, s.TLS)
		return err
	})
	if err != nil {
		return BulkResult{}, err
	}
	stop := context.AfterFunc(ctx, func() {
		for _, c := range conns {
			_ = c.Close() // more than once is harmless
		}
	})
	defer stop()
	if s.Begin != nil {
		s.Begin()
	}
	start := time.Now()
	err = moveAll(conns, &s)
	r := BulkResult{Bytes: s.Bytes, Elapsed: time.Since(start)}
	if s.End != nil {
		s.End()
	}
	if err != nil {
		return BulkResult{}, err
	}
	return r, nil
}

func moveAll(conns []net.Conn, s *BulkShape) error {
	var all sync.WaitGroup
	errs := make([]error, len(conns))
	for i, c := range conns {
		n := s.Bytes / int64(len(conns))
		if i == 0 {
			n += s.Bytes % int64(len(conns))
		}
		all.Go(func() {
			move := upload
			if s.Download {
				move = download
			}
			if errs[i] = move(c, n); errs[i] != nil {
				_ = c.Close()
			}
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return fmt.Errorf("%w: %w", ErrFailed, err)
		}
	}
	return nil
}

// upload sends n bytes, ends its side and waits for the sink's word on how many came.
func upload(c net.Conn, n int64) error {
	piece := make([]byte, bulkPiece)
	for i := range piece {
		piece[i] = 0xa5 // the beginning of no protocol that a proxy looks for
	}
	for left := n; left > 0; {
		if err := c.SetWriteDeadline(time.Now().Add(stall)); err != nil {
			return err
		}
		wrote, err := c.Write(piece[:min(left, bulkPiece)])
		left -= int64(wrote)
		if err != nil {
			return fmt.Errorf("send bulk: %w", err)
		}
	}
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		return fmt.Errorf("end bulk: %w", err)
	}
	if err := c.SetReadDeadline(time.Now().Add(stall)); err != nil {
		return err
	}
	var word [8]byte
	if _, err := io.ReadFull(c, word[:]); err != nil {
		return fmt.Errorf("wait for the sink: %w", err)
	}
	if got := int64(binary.BigEndian.Uint64(word[:])); got != n {
		return fmt.Errorf("%d of %d bytes arrived", got, n)
	}
	return nil
}

// download asks a source for n bytes and counts what comes.
func download(c net.Conn, n int64) error {
	if err := c.SetDeadline(time.Now().Add(stall)); err != nil {
		return err
	}
	if _, err := c.Write(binary.BigEndian.AppendUint64(nil, uint64(n))); err != nil {
		return fmt.Errorf("ask the source: %w", err)
	}
	piece := make([]byte, bulkPiece)
	for got := int64(0); ; {
		if err := c.SetReadDeadline(time.Now().Add(stall)); err != nil {
			return err
		}
		m, err := c.Read(piece)
		got += int64(m)
		if got == n {
			return nil
		}
		if got > n {
			return fmt.Errorf("%d bytes came instead of %d", got, n)
		}
		if err != nil {
			return fmt.Errorf("%d of %d bytes came: %w", got, n, err)
		}
	}
}
