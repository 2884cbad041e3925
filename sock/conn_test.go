package sock_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/sock"
)

// pair is both ends of a connection on loopback; near is quick.
func pair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	far, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	near = sock.Wrap(accepted)
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	return near, far
}

func TestBytesArriveInBothDirections(t *testing.T) {
	near, far := pair(t)
	for _, size := range []int{1, 1 << 10, 32 << 10, 32<<10 + 1, 4 << 20} {
		want := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
		for _, way := range []struct{ from, to net.Conn }{{near, far}, {far, near}} {
			var wg sync.WaitGroup
			wg.Go(func() {
				if n, err := way.from.Write(want); n != size || err != nil {
					t.Errorf("write of %d: %d, %v", size, n, err)
				}
			})
			got := make([]byte, size)
			if _, err := io.ReadFull(way.to, got); err != nil {
				t.Fatal(err)
			}
			wg.Wait()
			if !bytes.Equal(got, want) {
				t.Fatalf("%d bytes arrived changed", size)
			}
		}
	}
}

func TestWriteWaitsForRoom(t *testing.T) {
	near, far := pair(t)
	part := bytes.Repeat([]byte("x"), 16<<10)
	const parts = 1000 // more than the buffers of both sockets hold
	var wg sync.WaitGroup
	wg.Go(func() {
		for range parts {
			if _, err := near.Write(part); err != nil {
				t.Error(err)
				return
			}
		}
		_ = near.Close()
	})
	n, err := io.Copy(io.Discard, far)
	wg.Wait()
	if n != parts*int64(len(part)) || err != nil {
		t.Errorf("read %d bytes, %v", n, err)
	}
}

func TestEndIsEOF(t *testing.T) {
	near, far := pair(t)
	if err := far.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := near.Read(make([]byte, 1)); n != 0 || err != io.EOF { //nolint:errorlint // io.Reader promises the value itself
		t.Errorf("read %d, %v", n, err)
	}
}

func TestDeadlineEndsARead(t *testing.T) {
	near, _ := pair(t)
	if err := near.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := near.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestCloseEndsAWaitingRead(t *testing.T) {
	near, _ := pair(t)
	end := make(chan error, 1)
	go func() {
		_, err := near.Read(make([]byte, 1))
		end <- err
	}()
	_ = near.Close()
	if err := <-end; !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func TestBrokenConnectionFailsWrites(t *testing.T) {
	near, far := pair(t)
	_ = far.(*net.TCPConn).SetLinger(0)
	_ = far.Close()
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		if _, err := near.Write([]byte("x")); err != nil {
			return
		}
	}
	t.Error("writes into a reset connection succeed")
}

func TestOtherConnectionsStayAsTheyAre(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if got := sock.Wrap(a); got != a {
		t.Errorf("got %T", got)
	}
	near, _ := pair(t)
	if got := sock.Wrap(near); got != near {
		t.Error("a quick connection was wrapped again")
	}
}
