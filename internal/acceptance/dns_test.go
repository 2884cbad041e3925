package acceptance_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
	"github.com/outrigger-mesh/outrigger/internal/testmesh/echo"
)

// zone is a name server at the address that resolv.conf of every pod names.
type zone struct {
	mu    sync.Mutex
	addrs map[string][]string // guarded by mu
	rcode int                 // guarded by mu; for every name, where it is not 0
	asked int                 // guarded by mu
}

func nameServer(t *testing.T, mesh *testmesh.Mesh) *zone {
	t.Helper()
	z := &zone{addrs: map[string][]string{}}
	var pc net.PacketConn
	err := mesh.ControlPlane().Do(func() (err error) {
		pc, err = net.ListenPacket("udp", ":53") //nolint:noctx // a bare socket in a namespace
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	s := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(z.answer), NotifyStartedFunc: func() { close(started) }}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.ActivateAndServe() // ends with the test
	}()
	<-started
	t.Cleanup(func() {
		_ = s.Shutdown()
		<-ended
	})
	return z
}

func (z *zone) answer(w dns.ResponseWriter, q *dns.Msg) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.asked++
	a := new(dns.Msg).SetReply(q)
	name := q.Question[0].Name
	addrs, known := z.addrs[strings.TrimSuffix(name, ".")]
	switch {
	case z.rcode != 0:
		a.Rcode = z.rcode
	case !known:
		a.Rcode = dns.RcodeNameError
	case q.Question[0].Qtype == dns.TypeA:
		for _, addr := range addrs {
			a.Answer = append(a.Answer, &dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: net.ParseIP(addr)})
		}
	}
	_ = w.WriteMsg(a)
}

// set gives a name its addresses; none at all unknows it.
func (z *zone) set(name string, pods ...*testmesh.Pod) {
	z.mu.Lock()
	defer z.mu.Unlock()
	delete(z.addrs, name)
	for _, p := range pods {
		z.addrs[name] = append(z.addrs[name], p.Addr().String())
	}
}

func (z *zone) fail(rcode int) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.rcode = rcode
}

func (z *zone) questions() int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.asked
}

// tellsName has a pod outside of the mesh answer with its name.
func tellsName(t *testing.T, pod *testmesh.Pod) {
	t.Helper()
	l, err := pod.Listen(t.Context(), "tcp", "0.0.0.0:8080")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(echo.Reply{Pod: pod.Name()})
	})}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.Serve(l) // ends with the test
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-ended
	})
}

// outside are services beyond the mesh, known by name alone.
func outside(host, resolution string, endpoints ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: %s, namespace: town }
spec:
  hosts: [%s]
  location: MESH_EXTERNAL
  resolution: %s
  ports:
  - { number: 80, name: http, protocol: HTTP, targetPort: 8080 }
`, strings.ReplaceAll(host, ".", "-"), host, resolution)
	if len(endpoints) > 0 {
		b.WriteString("  endpoints:\n")
	}
	for _, e := range endpoints {
		fmt.Fprintf(&b, "  - { address: %q, ports: { http: 8080 } }\n", e)
	}
	return b.String()
}

func TestMeshServicesResolvedByDNS(t *testing.T) {
	mesh := town(t)
	z := nameServer(t, mesh)
	client := mesh.Pod("client")
	one, two := mesh.PlainPod("outside-1"), mesh.PlainPod("outside-2")
	tellsName(t, one)
	tellsName(t, two)
	z.set("api.outside.example", one, two)
	z.set("backend.outside.example", two)
	z.set("turns.outside.example", one)
	apply(t, mesh, "api", outside("api.outside.example", "DNS"))
	apply(t, mesh, "mixed", outside("mixed.outside.example", "DNS", one.Addr().String(), "backend.outside.example"))
	apply(t, mesh, "turns", outside("turns.outside.example", "DNS_ROUND_ROBIN"))

	// ask sends a request on a new connection to an address that means nothing.
	ask := func(host string) (status int, pod string) {
		c, err := tryDial(t, client, "192.0.2.77:80")
		if err != nil {
			return 0, err.Error()
		}
		defer c.Close()
		send(t, c, "GET / HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
		in := bufio.NewReader(c)
		resp, body := answer(t, in, http.MethodGet)
		if resp.StatusCode != http.StatusOK {
			return resp.StatusCode, body
		}
		reply := new(echo.Reply)
		if err := unmarshal(body, reply); err != nil {
			return resp.StatusCode, err.Error()
		}
		return resp.StatusCode, reply.Pod
	}
	// reached lists who answers many requests.
	reached := func(host string) string {
		pods := map[string]bool{}
		for range 24 {
			status, pod := ask(host)
			if status != http.StatusOK {
				pod = fmt.Sprintf("%d %s", status, pod)
			}
			pods[pod] = true
		}
		switch {
		case len(pods) == 2 && pods["outside-1"] && pods["outside-2"]:
			return "both"
		case len(pods) == 1:
			for pod := range pods {
				return pod
			}
		}
		return fmt.Sprint(pods)
	}
	comes := func(t *testing.T, host, want string) {
		t.Helper()
		got := ""
		if !within(soon, func() bool { got = reached(host); return got == want }) {
			t.Errorf("%s: reached %s, want %s", host, got, want)
		}
	}

	t.Run("an endpoint for each address", func(t *testing.T) { comes(t, "api.outside.example", "both") })
	t.Run("names and addresses as endpoints", func(t *testing.T) { comes(t, "mixed.outside.example", "both") })
	t.Run("changes are followed", func(t *testing.T) {
		z.set("api.outside.example", two)
		comes(t, "api.outside.example", "outside-2")
	})
	t.Run("a failure leaves the last answer", func(t *testing.T) {
		z.fail(dns.RcodeServerFailure)
		defer z.fail(0)
		asked := z.questions()
		eventually(t, "the name is asked for again", func() bool { return z.questions() > asked+3 })
		if got := reached("api.outside.example"); got != "outside-2" {
			t.Errorf("reached %s", got)
		}
	})
	t.Run("a name that is no more", func(t *testing.T) {
		z.set("api.outside.example")
		comes(t, "api.outside.example", "503 no healthy upstream")
		z.set("api.outside.example", one)
		comes(t, "api.outside.example", "outside-1")
	})
	t.Run("a name that never was", func(t *testing.T) {
		apply(t, mesh, "nobody", outside("nobody.outside.example", "DNS"))
		comes(t, "nobody.outside.example", "503 no healthy upstream")
	})
	t.Run("round robin keeps connections", func(t *testing.T) { keepsConnections(t, client, z, one, two) })
}

// keepsConnections has the address of a name change under a connection in use.
func keepsConnections(t *testing.T, client *testmesh.Pod, z *zone, one, two *testmesh.Pod) {
	t.Helper()
	request := func(c net.Conn, in *bufio.Reader) string {
		send(t, c, "GET / HTTP/1.1\r\nHost: turns.outside.example\r\n\r\n")
		_, got := echoed(t, in)
		return got.Pod
	}
	var c *net.TCPConn
	var in *bufio.Reader
	eventually(t, "the service is known", func() bool {
		c = dial(t, client, "192.0.2.77:80")
		in = bufio.NewReader(c)
		send(t, c, "GET / HTTP/1.1\r\nHost: turns.outside.example\r\n\r\n")
		resp, _ := answer(t, in, http.MethodGet)
		return resp.StatusCode == http.StatusOK
	})
	z.set("turns.outside.example", two)
	asked := z.questions()
	eventually(t, "the name is asked for again", func() bool { return z.questions() > asked+6 })
	if got := request(c, in); got != one.Name() {
		t.Errorf("the connection in use leads to %s", got)
	}
}
