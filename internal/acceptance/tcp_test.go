package acceptance_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
	"github.com/outrigger-mesh/outrigger/internal/testmesh/echo"
)

func TestMeshTCPArrivesIntactBothWays(t *testing.T) {
	mesh := town(t)
	pods := mesh.Pods("client", "solo")
	client, solo := pods[0], pods[1]
	plain := mesh.PlainPod("store", testmesh.WithPort(3307, echo.Bulk), testmesh.WithPort(3306, echo.Greet), testmesh.WithPort(3308, echo.Echo))
	size := int64(1 << 30)
	if testing.Short() {
		size = 32 << 20
	}
	outside := func(port int) string { return fmt.Sprintf("%s:%d", plain.Addr(), port) }

	// One side half-closes early, while the other goes on.
	for name, c := range map[string]struct {
		pod      *testmesh.Pod
		addr     string
		up, down int64
	}{
		"both sidecars, mTLS, upstream direction ends early": {client, "solo:3307", size, size + size/4},
		"both sidecars, mTLS, both long":                     {client, "solo:3307", size / 8, size / 8},
		"both sidecars, mTLS, downstream direction is short": {client, "solo:3307", size / 4, 10},
		"passthrough, plain":                                 {client, outside(3307), size / 10, size / 2},
		"inbound, plain":                                     {plain, solo.Addr().String() + ":3307", size / 4, size / 40},
	} {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, c.pod, c.addr)
			began := time.Now()
			if err := echo.Exchange(conn, c.up, c.down); err != nil {
				t.Error(err)
			}
			t.Logf("%d MB/s", (c.up+c.down)/(1+time.Since(began).Milliseconds())/1000)
		})
	}
	for name, addr := range map[string]string{"both sidecars": "solo", "passthrough": plain.Addr().String()} {
		t.Run("server speaks first, "+name, func(t *testing.T) {
			began := time.Now()
			line, err := bufio.NewReader(dial(t, client, addr+":3306")).ReadString('\n')
			if !strings.HasPrefix(line, "greetings from") || err != nil {
				t.Errorf("got %q, %v", line, err)
			}
			if took := time.Since(began); took > 12*time.Second {
				t.Errorf("took %v", took)
			}
		})
		t.Run("half-close without a byte, "+name, func(t *testing.T) {
			c := dial(t, client, addr+":3308")
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(c); len(got) != 0 || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
		})
		t.Run("many short connections, "+name, func(t *testing.T) {
			for range 200 {
				c := dial(t, client, addr+":3308")
				if err := echoes(c); err != nil {
					t.Fatal(err)
				}
				_ = c.Close() // everything was read
			}
		})
		t.Run("reset by the downstream reaches the upstream, "+name, func(t *testing.T) {
			c := dial(t, client, addr+":3308")
			if err := echoes(c); err != nil {
				t.Fatal(err)
			}
			if err := c.SetLinger(0); err != nil {
				t.Fatal(err)
			}
			_ = c.Close() // a reset
			pod := map[string]*testmesh.Pod{"solo": solo}[addr]
			if pod == nil {
				pod = plain
			}
			eventually(t, "the application's connection is gone", func() bool {
				out, err := pod.Exec(t.Context(), 0, "ss", "-Htn", "state", "established", "sport", "=", ":3308")
				return err == nil && strings.TrimSpace(out) == ""
			})
		})
	}
	t.Run("everything is given back", func(t *testing.T) {
		for _, p := range pods {
			eventually(t, p.Name()+" has no connections of these tests left", func() bool {
				out, err := p.Exec(t.Context(), 0, "ss", "-Htn", "state", "established", "( sport = :3307 or dport = :3307 or sport = :3308 or dport = :3308 )")
				return err == nil && strings.TrimSpace(out) == ""
			})
		}
	})
}

// established returns the peers, without ports, of a pod's connections whose
// local port is given, as ss shows them.
func established(t *testing.T, pod *testmesh.Pod, port int) (peers []string) {
	t.Helper()
	out, err := pod.Exec(t.Context(), 0, "ss", "-Htn", "state", "established", "sport", "=", fmt.Sprintf(":%d", port))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) < 4 {
			t.Fatalf("unexpected line of ss: %q", line)
		}
		host, _, err := net.SplitHostPort(f[3])
		if err != nil {
			t.Fatal(err)
		}
		peers = append(peers, host)
	}
	return peers
}

func TestMeshApplicationSeesTheSidecarAsItsPeer(t *testing.T) {
	mesh := town(t, testmesh.WithIstiodEnv("ISTIO_DUAL_STACK=true"), testmesh.WithSidecarEnv("ISTIO_DUAL_STACK=true", "ISTIO_META_ISTIO_DUAL_STACK=true"))
	pods := mesh.Pods("client", "solo")
	client, solo := pods[0], pods[1]
	plain := mesh.PlainPod("plain", testmesh.WithIPv6())
	v6 := solo.Addresses()[1].String()

	for _, c := range []struct {
		name string
		pod  *testmesh.Pod
		addr string
		port int
		peer string
	}{
		{"through the service", client, "solo:3308", 3308, "127.0.0.6"},
		{"plain, IPv4", plain, solo.Addr().String() + ":3308", 3308, "127.0.0.6"},
		{"a port without service, IPv4", plain, solo.Addr().String() + ":7000", 7000, "127.0.0.6"},
		{"plain, IPv6", plain, "[" + v6 + "]:3308", 3308, "::6"},
		{"a port without service, IPv6", plain, "[" + v6 + "]:7000", 7000, "::6"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.port == 7000 {
				l, err := solo.Listen(t.Context(), "tcp", "[::]:7000")
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				go func() {
					if conn, err := l.Accept(); err == nil {
						_, _ = io.Copy(conn, conn)
						_ = conn.Close()
					}
				}()
			}
			conn := dial(t, c.pod, c.addr)
			if err := echoes(conn); err != nil {
				t.Fatal(err)
			}
			peers := established(t, solo, c.port)
			found := false
			for _, p := range peers {
				found = found || strings.TrimPrefix(p, "::ffff:") == c.peer
			}
			if !found {
				t.Errorf("ss shows the peers %q, want %s", peers, c.peer)
			}
			_ = conn.Close() // the next case must not see it
			eventually(t, "the connection is gone", func() bool { return len(established(t, solo, c.port)) < len(peers) })
		})
	}
	t.Run("HTTP", func(t *testing.T) {
		r := client.Get("http://solo/")
		if r.Echo == nil || !strings.HasPrefix(strings.TrimPrefix(r.Echo.Remote, "[::ffff:"), "127.0.0.6") {
			t.Errorf("got %v %+v", r, r.Echo)
		}
		r = plain.Get("http://[" + v6 + "]:8080/")
		if r.Echo == nil || !strings.HasPrefix(r.Echo.Remote, "[::6]:") {
			t.Errorf("IPv6: got %v %+v", r, r.Echo)
		}
	})
}
