package acceptance_test

import (
	"bufio"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
)

// Fields of a line of Istio's default access log.
const (
	fieldTime = iota
	fieldRequest
	fieldCode
	fieldFlags
	fieldDetails
	fieldTermination
	fieldFailure
	fieldReceived
	fieldSent
	fieldDuration
	fieldServiceTime
	fieldForwardedFor
	fieldAgent
	fieldRequestID
	fieldAuthority
	fieldHost
	fieldCluster
	fieldLocal
	fieldDownstreamLocal
	fieldDownstreamRemote
	fieldServerName
	fieldRoute
	fields
)

// split cuts a line of access log; quotes and brackets hold words together.
func cut(line string) []string {
	var words []string
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimLeft(line, " ") {
		end, skip := strings.IndexByte(line, ' '), 0
		switch line[0] {
		case '"':
			end, skip = strings.IndexByte(line[1:], '"'), 1
		case '[':
			if len(words) == 0 {
				end, skip = strings.IndexByte(line[1:], ']'), 1
			}
		}
		if end < 0 {
			return append(words, line)
		}
		words = append(words, line[skip:skip+end])
		line = line[end+2*skip:]
	}
	return words
}

// logLine waits for the access log line about a path and returns its fields.
func logLine(t *testing.T, pod *testmesh.Pod, path string) []string {
	t.Helper()
	var found string
	eventually(t, pod.Name()+" logs "+path, func() bool {
		for line := range strings.Lines(pod.SidecarLog()) {
			if strings.HasPrefix(line, "[") && strings.Contains(line, path) {
				found = line
			}
		}
		return found != ""
	})
	f := cut(found)
	if len(f) != fields {
		t.Fatalf("got %d fields, want %d: %s", len(f), fields, found)
	}
	return f
}

// expect checks fields of a line, given as index and value.
func expect(t *testing.T, line []string, want map[int]string) {
	t.Helper()
	for i, w := range want {
		if line[i] != w {
			t.Errorf("field %d of the access log: got %q, want %q, in %q", i, line[i], w, line)
		}
	}
}

func TestMeshRepliesAndAccessLog(t *testing.T) {
	mesh := town(t, testmesh.WithMeshConfig(logged))
	pods := mesh.Pods("client", "solo")
	client, solo := pods[0], pods[1]
	plain := mesh.PlainPod("plain")

	t.Run("a good request", func(t *testing.T) {
		r := request(t, "POST", "http://solo/good?x=1", strings.NewReader("12345"), "User-Agent", "tester/1", "X-Request-Id", "11111111-2222-4333-8444-555555555555")
		got := client.Do(r)
		if got.Status != 200 {
			t.Fatalf("got %v", got)
		}
		const solo80 = "outbound|80||solo.town.svc.cluster.local"
		out := logLine(t, client, "/good")
		expect(t, out, map[int]string{
			fieldRequest: "POST /good?x=1 HTTP/1.1", fieldCode: "200", fieldFlags: "-", fieldDetails: "via_upstream", fieldTermination: "-", fieldFailure: "-",
			fieldReceived: "5", fieldSent: strconv.Itoa(len(got.Body)), fieldForwardedFor: "-", fieldAgent: "tester/1",
			fieldRequestID: "11111111-2222-4333-8444-555555555555", fieldAuthority: "solo", fieldHost: solo.Addr().String() + ":8080",
			fieldCluster: solo80, fieldDownstreamLocal: "10.96.1.2:80", fieldServerName: "-", fieldRoute: "default",
		})
		if !strings.HasPrefix(out[fieldLocal], client.Addr().String()+":") || !strings.HasPrefix(out[fieldDownstreamRemote], client.Addr().String()+":") {
			t.Errorf("got addresses %q, %q", out[fieldLocal], out[fieldDownstreamRemote])
		}
		if _, err := time.Parse("2006-01-02T15:04:05.000Z", out[fieldTime]); err != nil {
			t.Error(err)
		}
		for _, i := range []int{fieldDuration, fieldServiceTime} {
			if _, err := strconv.Atoi(out[i]); err != nil {
				t.Errorf("field %d: %v", i, err)
			}
		}
		in := logLine(t, solo, "/good")
		expect(t, in, map[int]string{
			fieldCode: "200", fieldFlags: "-", fieldDetails: "via_upstream", fieldReceived: "5", fieldCluster: "inbound|8080||", fieldHost: solo.Addr().String() + ":8080",
			fieldDownstreamLocal: solo.Addr().String() + ":8080", fieldServerName: "outbound_.80_._.solo.town.svc.cluster.local", fieldRoute: "default",
			fieldRequestID: "11111111-2222-4333-8444-555555555555",
		})
		if !strings.HasPrefix(in[fieldLocal], "127.0.0.6:") {
			t.Errorf("got upstream local address %q", in[fieldLocal])
		}
	})
	t.Run("unknown host", func(t *testing.T) {
		// ALLOW_ANY: the address decides, and behind it nobody listens.
		r := request(t, "GET", "http://solo/unknown", nil)
		r.Host = "nobody.example"
		if got := client.Do(r); got.Status != 503 {
			t.Errorf("got %v, want 503", got)
		}
		expect(t, logLine(t, client, "/unknown"), map[int]string{fieldCode: "503", fieldCluster: "PassthroughCluster", fieldAuthority: "nobody.example"})
	})
	t.Run("no route", func(t *testing.T) {
		apply(t, mesh, "narrow", `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: solo, namespace: town }
spec:
  hosts: [solo.town.svc.cluster.local]
  http:
  - match: [{ uri: { prefix: /only } }]
    route: [{ destination: { host: solo.town.svc.cluster.local, port: { number: 80 } } }]
  - match: [{ uri: { prefix: /missing } }]
    route: [{ destination: { host: solo.town.svc.cluster.local, subset: absent } }]
`)
		eventually(t, "the rule is in force", func() bool { return client.Get("http://solo/none").Status == 404 })
		if got := client.Get("http://solo/noroute"); got.Status != 404 || len(got.Body) != 0 {
			t.Errorf("got %v", got)
		}
		expect(t, logLine(t, client, "/noroute"), map[int]string{fieldCode: "404", fieldFlags: "NR", fieldDetails: "route_not_found", fieldHost: "-", fieldCluster: "-"})
		if got := client.Get("http://solo/missing-cluster"); got.Status != 503 || len(got.Body) != 0 {
			t.Errorf("got %v", got)
		}
		expect(t, logLine(t, client, "/missing-cluster"), map[int]string{fieldCode: "503", fieldFlags: "NC", fieldDetails: "cluster_not_found"})
		remove(t, mesh, "narrow")
		eventually(t, "the rule is gone", func() bool { return client.Get("http://solo/").Status == 200 })
	})
	t.Run("no healthy upstream", func(t *testing.T) {
		apply(t, mesh, "empty", `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: empty, namespace: town }
spec:
  hosts: [empty.town.svc.cluster.local]
  addresses: [10.96.7.9]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 80, name: http, protocol: HTTP }, { number: 3308, name: tcp, protocol: TCP }]
  workloadSelector: { labels: { app: nobody } }
`)
		eventually(t, "the service is known", func() bool {
			return string(client.Get("http://10.96.7.9/").Body) == "no healthy upstream"
		})
		got := client.Get("http://10.96.7.9/uh")
		if got.Status != 503 || got.Header.Get("Content-Type") != "text/plain" || got.Header.Get("Content-Length") != "19" {
			t.Errorf("got %v %v", got, got.Header)
		}
		expect(t, logLine(t, client, "/uh"), map[int]string{fieldCode: "503", fieldFlags: "UH", fieldDetails: "no_healthy_upstream", fieldHost: "-", fieldSent: "19"})
		if text, closed := talk(t, client, "10.96.7.9:3308", "x", soon); text != "" || !closed {
			t.Errorf("TCP: got %q, closed %v", text, closed)
		}
	})
	t.Run("connection refused", func(t *testing.T) {
		if err := solo.StopApp(); err != nil {
			t.Fatal(err)
		}
		// istiod has inbound routes retry what was not sent.
		const want = "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: remote connection failure"
		got := plain.Get("http://" + solo.Addr().String() + ":8080/refused")
		if got.Status != 503 || string(got.Body) != want {
			t.Errorf("got %v\nwant %q", got, want)
		}
		in := logLine(t, solo, "/refused")
		if in[fieldCode] != "503" || in[fieldFlags] != "URX,UF" {
			t.Errorf("got %q", in)
		}
		expect(t, in, map[int]string{
			fieldDetails: "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}",
			fieldFailure: "delayed_connect_error:_Connection_refused",
		})
		// Through both sidecars, the inbound's reply passes as it is.
		if got := client.Get("http://solo/refused2"); got.Status != 503 || string(got.Body) != want {
			t.Errorf("through both: got %v", got)
		}
		expect(t, logLine(t, client, "/refused2"), map[int]string{fieldCode: "503", fieldFlags: "-", fieldDetails: "via_upstream"})
		if err := solo.StartApp(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := client.Get("http://solo/"); got.Status != 200 {
			t.Errorf("started again: got %v", got)
		}
	})
	t.Run("the downstream leaves while the upstream is slow", func(t *testing.T) {
		c := dial(t, client, "solo:80")
		send(t, c, "GET /leave?delay=20s HTTP/1.1\r\nHost: solo\r\n\r\n")
		eventually(t, "the application has the request", func() bool { return len(established(t, solo, 8080)) > 0 })
		pause(200 * time.Millisecond)
		began := time.Now()
		_ = c.Close()
		for _, p := range pods {
			expect(t, logLine(t, p, "/leave"), map[int]string{fieldCode: "0", fieldFlags: "DC", fieldDetails: "downstream_remote_disconnect"})
		}
		if took := time.Since(began); took > 15*time.Second {
			t.Errorf("noticed after %v", took)
		}
	})
	t.Run("TCP", func(t *testing.T) {
		c := dial(t, client, "solo:3308")
		if err := echoes(c); err != nil {
			t.Fatal(err)
		}
		_, port, err := net.SplitHostPort(c.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		line := logLine(t, client, ":"+port+" ")
		expect(t, line, map[int]string{
			fieldRequest: "- - -", fieldCode: "0", fieldFlags: "-", fieldDetails: "-", fieldReceived: "15", fieldSent: "15",
			fieldCluster: "outbound|3308||solo.town.svc.cluster.local", fieldHost: solo.Addr().String() + ":3308", fieldDownstreamLocal: "10.96.1.2:3308",
		})
	})
	t.Run("what is written into a log cannot forge a line", func(t *testing.T) {
		c := dial(t, client, "solo:80")
		send(t, c, "GET /forge HTTP/1.1\r\nHost: solo\r\nUser-Agent: a\" 200 - \"b\r\n\r\n")
		answer(t, bufio.NewReader(c), "GET")
		eventually(t, "it is logged", func() bool { return strings.Contains(client.SidecarLog(), "/forge") })
		for line := range strings.Lines(client.SidecarLog()) {
			if strings.Contains(line, "/forge") && !strings.HasPrefix(line, "[") {
				t.Errorf("got %q", line)
			}
		}
	})
	t.Run("the log follows MeshConfig", func(t *testing.T) {
		if err := mesh.SetMeshConfig(testmesh.DefaultMeshConfig); err != nil {
			t.Fatal(err)
		}
		n := 0
		eventually(t, "lines end", func() bool {
			n++
			path := fmt.Sprintf("/silent%d", n)
			client.Get("http://solo" + path)
			return !within(300*time.Millisecond, func() bool { return strings.Contains(client.SidecarLog(), path) })
		})
	})
}
