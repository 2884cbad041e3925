package mtls_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/mtls"
	"github.com/outrigger-mesh/outrigger/mtls/mtlstest"
)

// rotten is a connection that panics when it is read.
type rotten struct{ net.Conn }

func (rotten) Read([]byte) (int, error) { panic("rotten") }

// A handshake runs on a goroutine of its own: a bug that it meets is that connection's
// error and not the end of the process.
func TestPanicInAHandshakeEndsItsConnectionAlone(t *testing.T) {
	t.Parallel()
	ca := mtlstest.NewCA(t, "mesh.test")
	s, err := mtls.NewServer(mtls.ServerSpec{
		Cert:  mtlstest.Secret("default", ca.Issue("spiffe://mesh.test/ns/a/sa/b", time.Hour)),
		Roots: mtlstest.Secret("ROOTCA", ca.Trust()),
	})
	if err != nil {
		t.Fatal(err)
	}
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	if _, _, err := s.Handshake(t.Context(), rotten{near}); err == nil || !strings.Contains(err.Error(), "rotten") {
		t.Errorf("got %v", err)
	}
}
