package acceptance_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestMeshPortsOfTheSidecar(t *testing.T) {
	mesh := town(t)
	pods := mesh.Pods("client", "solo")
	client, solo := pods[0], pods[1]
	plain := mesh.PlainPod("plain")
	for range 10 {
		if !takes(client, "http://solo/") {
			t.Fatal("no traffic")
		}
	}
	outside := func(port int, path string) string { return fmt.Sprintf("http://%s:%d%s", solo.Addr(), port, path) }

	t.Run("/config_dump has what was received and no key", func(t *testing.T) {
		r := client.Admin("/config_dump")
		if r.Status != 200 || !json.Valid(r.Body) {
			t.Fatalf("got %v", r)
		}
		text := string(r.Body)
		for _, want := range []string{
			"outbound|80||solo.town.svc.cluster.local", "virtualInbound", "virtualOutbound", "ClustersConfigDump", "ListenersConfigDump",
			"RoutesConfigDump", "SecretsConfigDump", "BootstrapConfigDump", "istio.alpn", "10.96.1.2", "connect_timeout",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("lacks %q", want)
			}
		}
		for _, bad := range []string{"PRIVATE KEY", "UFJJVkFURSBLRVk"} { // as text and as base64
			if strings.Contains(text, bad) {
				t.Errorf("has %q", bad)
			}
		}
		token, err := json.Marshal(readFile(t, solo.File(tokenFile)))
		if err != nil || strings.Contains(text, strings.Trim(string(token), `"`)) {
			t.Errorf("the token is in it, or %v", err)
		}
	})
	t.Run("/stats counts", func(t *testing.T) {
		stats, err := client.Stats()
		if err != nil {
			t.Fatal(err)
		}
		if len(stats) < 20 {
			t.Errorf("got %d numbers", len(stats))
		}
		found, spoken := false, 0
		for name, value := range stats {
			if n, err := strconv.Atoi(value); err == nil && strings.HasSuffix(name, ".downstream_cx_http1_total") {
				spoken += n
			}
			if strings.Contains(name, "outbound|80||solo") && strings.HasSuffix(name, "upstream_rq_total") {
				n, err := strconv.Atoi(value)
				found = err == nil && n >= 10
			}
		}
		if !found {
			t.Error("no upstream_rq_total of at least 10 for solo")
		}
		if spoken == 0 {
			t.Error("no downstream connection has spoken HTTP/1.1")
		}
	})
	t.Run("other admin pages", func(t *testing.T) {
		for path, want := range map[string]int{
			"/": 200, "/help": 200, "/clusters": 200, "/listeners": 200, "/certs": 200, "/server_info": 200, "/ready": 200, "/nothing-here": 404,
			"/stats/prometheus": 200, "/config_dump?resource=dynamic_listeners": 200,
		} {
			if r := client.Admin(path); r.Status != want || r.Err != nil {
				t.Errorf("%s: got %v, want %d", path, r, want)
			}
		}
		if r := client.Admin("/clusters"); !strings.Contains(string(r.Body), "outbound|80||solo.town.svc.cluster.local::"+solo.Addr().String()+":8080::") {
			t.Errorf("/clusters lacks solo's endpoint: %.500s", r.Body)
		}
		if r := client.Admin("/certs"); !strings.Contains(string(r.Body), client.Identity()) {
			t.Errorf("/certs lacks our identity: %s", r.Body)
		}
	})
	t.Run("the admin port is not for others", func(t *testing.T) {
		for _, path := range []string{"/stats", "/config_dump", "/"} {
			if r := plain.Get(outside(15000, path)); r.Status == 200 {
				t.Errorf("%s: got %v", path, r)
			}
		}
		if r := plain.Do(request(t, "POST", outside(15000, "/quitquitquit"), nil)); r.Status == 200 {
			t.Errorf("a stranger ended it: %v", r)
		}
		if r := client.Do(request(t, "POST", outside(15000, "/quitquitquit"), nil)); r.Status == 200 {
			t.Errorf("a peer ended it: %v", r)
		}
	})
	t.Run("a page of the web may not use it", func(t *testing.T) {
		r := request(t, "GET", "http://127.0.0.1:15000/config_dump", nil)
		r.Host = "attacker.example"
		if got := solo.Do(r); got.Status == 200 {
			t.Log("a foreign Host header is served, as Envoy does") // DNS rebinding; noted, not asked for
		}
	})
	t.Run("15021", func(t *testing.T) {
		if r := plain.Get(outside(15021, "/healthz/ready")); r.Status != 200 {
			t.Errorf("got %v", r)
		}
		if r := plain.Get(outside(15021, "/config_dump")); r.Status != 404 {
			t.Errorf("another path: got %v", r)
		}
		if r := plain.Do(request(t, "HEAD", outside(15021, "/healthz/ready"), nil)); r.Status != 200 {
			t.Errorf("HEAD: got %v", r)
		}
	})
	t.Run("15090 gives Prometheus text", func(t *testing.T) {
		text, err := client.Metrics(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		prometheus(t, string(text))
		if r := plain.Get(outside(15090, "/config_dump")); r.Status != 404 {
			t.Errorf("another path: got %v", r)
		}
	})
	t.Run("/quitquitquit ends the process, by POST only", func(t *testing.T) {
		if r := solo.Admin("/quitquitquit"); r.Status != http.StatusMethodNotAllowed {
			t.Errorf("GET: got %v, want 405", r)
		}
		if solo.SidecarPID() == 0 {
			t.Fatal("GET ended the process")
		}
		if r := solo.Do(request(t, "POST", "http://127.0.0.1:15000/quitquitquit", nil)); r.Status != 200 {
			t.Errorf("POST: got %v", r)
		}
		select {
		case <-solo.SidecarDone():
		case <-time.NewTimer(soon).C:
			t.Fatal("POST does not end the process")
		}
		if err := solo.Ready(t.Context()); err == nil || strings.Contains(err.Error(), "exit status") || strings.Contains(err.Error(), "signal") {
			t.Errorf("got %v, want an end with code 0", err)
		}
	})
}

// prometheus checks the text format: each sample has its type declared before,
// no series comes twice, each value is a number.
func prometheus(t *testing.T, text string) {
	t.Helper()
	types, seen := map[string]string{}, map[string]bool{}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if kind, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, kind, _ := strings.Cut(kind, " ")
			if types[name] != "" {
				t.Errorf("%s is declared twice", name)
			}
			types[name] = kind
			continue
		}
		if strings.HasPrefix(line, "#") || line == "" {
			continue
		}
		i := strings.LastIndexByte(line, ' ')
		if i < 0 {
			t.Errorf("malformed line %q", line)
			continue
		}
		series, value := line[:i], line[i+1:]
		if _, err := strconv.ParseFloat(value, 64); err != nil {
			t.Errorf("%q: %v", line, err)
		}
		if seen[series] {
			t.Errorf("%s comes twice", series)
		}
		seen[series] = true
		name, _, _ := strings.Cut(series, "{")
		base := name
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if cut := strings.TrimSuffix(name, suffix); types[cut] == "histogram" {
				base = cut
			}
		}
		if types[base] == "" {
			t.Errorf("%s has no type", name)
		}
	}
	if len(seen) < 10 {
		t.Errorf("got %d series", len(seen))
	}
}
