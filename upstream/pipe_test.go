package upstream_test

import (
	"io"
	"net"
	"path/filepath"
	"testing"

	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/upstream"
)

func TestAnEndpointMayBeAUnixSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "app.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.WriteString(c, "hello")
		_ = c.Close()
	}()
	c := upstream.New("app", upstream.Options{})
	c.Publish(&upstream.Spec{Name: "app", Kind: upstream.Static}, lb.NewSet(nil, []lb.EndpointSpec{{Name: path}}, lb.Policy{}))
	e, err := c.Pick(&lb.Hint{})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := c.Dial(t.Context(), e, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got, err := io.ReadAll(conn); string(got) != "hello" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
}
