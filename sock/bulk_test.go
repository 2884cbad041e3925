package sock_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/mtls"
	"github.com/outrigger-mesh/outrigger/mtls/mtlstest"
	"github.com/outrigger-mesh/outrigger/sock"
)

// sessions are both ends of a TLS connection on quick sockets.
func sessions(t *testing.T) (client, server *tls.Conn) {
	t.Helper()
	ca := mtlstest.NewCA(t, "cluster.local")
	reg := ca.Secrets("spiffe://cluster.local/ns/a/sa/b", time.Hour)
	s, err := mtls.NewServer(mtls.ServerSpec{Cert: reg.Get("default"), Roots: reg.Get("ROOTCA")})
	if err != nil {
		t.Fatal(err)
	}
	c, err := mtls.NewClient(mtls.ClientSpec{Cert: reg.Get("default"), Roots: reg.Get("ROOTCA")})
	if err != nil {
		t.Fatal(err)
	}
	near, far := pair(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		if server, _, err = s.Handshake(t.Context(), near); err != nil {
			t.Error(err)
		}
	})
	client, _, cerr := c.Handshake(t.Context(), sock.Wrap(far))
	wg.Wait()
	if cerr != nil || t.Failed() {
		t.Fatal(cerr)
	}
	return client, server
}

func TestSessionCarriesMuchInBothDirections(t *testing.T) {
	client, server := sessions(t)
	want := make([]byte, 8<<20)
	for i := range want {
		want[i] = byte(i * 7 >> 3)
	}
	for _, way := range []struct{ from, to *tls.Conn }{{client, server}, {server, client}} {
		below := sock.Under(way.to)
		if below == nil || sock.Under(way.from) == nil {
			t.Fatal("the quick socket was not found below the session")
		}
		below.ReadAhead()
		var wg sync.WaitGroup
		wg.Go(func() {
			for rest, size := want, 1; len(rest) > 0; size = size*3%100_003 + 1 {
				n := min(size, len(rest))
				if m, err := sock.WriteAll(way.from, rest[:n]); m != n || err != nil {
					t.Errorf("write of %d: %d, %v", n, m, err)
					return
				}
				rest = rest[n:]
			}
		})
		got := make([]byte, len(want))
		_, err := io.ReadFull(way.to, got)
		wg.Wait()
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("arrived changed, %v", err)
		}
	}
}

func TestHasRecordOnlyForWholeRecords(t *testing.T) {
	client, server := sessions(t)
	below := sock.Under(server)
	below.ReadAhead()
	if _, err := sock.WriteAll(client, make([]byte, 64<<10)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 16<<10)
	for total := 0; total < 64<<10; {
		n, err := server.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		total += n
		for below.HasRecord() {
			_ = server.SetReadDeadline(time.Unix(1, 0)) // must not be needed
			n, err := server.Read(buf)
			_ = server.SetReadDeadline(time.Time{})
			if err != nil {
				t.Fatalf("a whole record had to be waited for: %v", err)
			}
			total += n
		}
	}
	if below.HasRecord() {
		t.Error("a record is left")
	}
}

func TestNothingWaitsAfterWriteAll(t *testing.T) {
	client, server := sessions(t)
	for _, size := range []int{1, 16 << 10, 16<<10 + 1, 40_000, 200_000} {
		var wg sync.WaitGroup
		wg.Go(func() {
			if n, err := sock.WriteAll(client, make([]byte, size)); n != size || err != nil {
				t.Errorf("write of %d: %d, %v", size, n, err)
			}
		})
		_ = server.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := io.ReadFull(server, make([]byte, size)); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		wg.Wait()
	}
}

func TestWriteAllFailsOnABrokenConnection(t *testing.T) {
	client, server := sessions(t)
	_ = sock.Under(server).SetLinger(0)
	_ = sock.Under(server).Close()
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		if n, err := sock.WriteAll(client, make([]byte, 64<<10)); err != nil {
			if n != 0 {
				t.Errorf("%d bytes with an error", n)
			}
			return
		}
	}
	t.Error("writes into a reset connection succeed")
}
