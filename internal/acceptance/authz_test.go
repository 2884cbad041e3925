package acceptance_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
)

// authorization is an AuthorizationPolicy for solo.
func authorization(name, action, rules string) string {
	return fmt.Sprintf(`apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: %s, namespace: town }
spec:
  selector: { matchLabels: { app: solo } }
  action: %s
  rules: %s
`, name, action, rules)
}

// call is a request to solo and what has to become of it.
type call struct {
	from   *testmesh.Pod
	method string
	url    string
	header []string
	want   int
}

// agree waits until a policy is in force, which the calls show together.
func agree(t *testing.T, calls []call) {
	t.Helper()
	status := func(c *call) int {
		method := c.method
		if method == "" {
			method = "GET"
		}
		return c.from.Do(request(t, method, c.url, nil, c.header...)).Status
	}
	var wrong []string
	if within(soon, func() bool {
		wrong = nil
		for i := range calls {
			if c := &calls[i]; status(c) != c.want {
				wrong = append(wrong, fmt.Sprintf("%s %s %s %q: not %d", c.from.Name(), c.method, c.url, c.header, c.want))
			}
		}
		return len(wrong) == 0
	}) {
		return
	}
	t.Error(strings.Join(wrong, "\n"))
}

func TestMeshAuthorizationOfRequests(t *testing.T) {
	mesh := town(t, testmesh.WithMeshConfig(logged))
	pods := mesh.Pods("client", "solo", "web-1")
	client, solo, web := pods[0], pods[1], pods[2]
	plain := mesh.PlainPod("plain")
	const url = "http://solo"
	direct := "http://" + net.JoinHostPort(solo.Addr().String(), "8080")
	eventually(t, "all get in without a policy", func() bool {
		return takes(client, url+"/") && takes(web, url+"/") && takes(plain, direct+"/")
	})

	for _, c := range []struct {
		name, action, rules string
		calls               []call
	}{
		{"nothing is allowed", "ALLOW", "[]", []call{{from: client, url: url + "/", want: 403}, {from: plain, url: direct + "/", want: 403}}},
		{"all is allowed", "ALLOW", "[{}]", []call{{from: client, url: url + "/", want: 200}, {from: plain, url: direct + "/", want: 200}}},
		{"principals", "ALLOW", "[{ from: [{ source: { principals: [cluster.local/ns/town/sa/client] } }] }]", []call{
			{from: web, url: url + "/", want: 403}, {from: client, url: url + "/", want: 200}, {from: plain, url: direct + "/", want: 403},
		}},
		{"principals by prefix, suffix and presence", "DENY", "[{ from: [{ source: { principals: ['*/sa/web'] } }] }, { from: [{ source: { notPrincipals: ['*'] } }] }]", []call{
			{from: web, url: url + "/", want: 403}, {from: client, url: url + "/", want: 200}, {from: plain, url: direct + "/", want: 403},
		}},
		{"service accounts", "ALLOW", "[{ from: [{ source: { serviceAccounts: [town/web] } }] }]", []call{
			{from: client, url: url + "/", want: 403}, {from: web, url: url + "/", want: 200}, {from: plain, url: direct + "/", want: 403},
		}},
		{"namespaces", "ALLOW", "[{ from: [{ source: { namespaces: [town] } }] }]", []call{
			{from: plain, url: direct + "/", want: 403}, {from: client, url: url + "/", want: 200},
		}},
		{"not namespaces", "DENY", "[{ from: [{ source: { notNamespaces: [other] } }] }]", []call{
			{from: client, url: url + "/", want: 403}, {from: plain, url: direct + "/", want: 403},
		}},
		{"paths", "DENY", "[{ to: [{ operation: { paths: [/admin, /internal/*, '*.secret'] } }] }]", []call{
			{from: client, url: url + "/admin", want: 403},
			{from: client, url: url + "/admin?x=1", want: 403},
			{from: client, url: url + "/%61dmin", want: 403},
			{from: client, url: url + "/x/../admin", want: 403},
			{from: client, url: url + "/./admin", want: 403},
			{from: client, url: url + "/administration", want: 200},
			{from: client, url: url + "/internal/x", want: 403},
			{from: client, url: url + "/a.secret", want: 403},
			{from: client, url: url + "/x", want: 200},
		}},
		{"path templates", "ALLOW", "[{ to: [{ operation: { paths: ['/v1/{*}/get', '/public/{**}'] } }] }]", []call{
			{from: client, url: url + "/", want: 403},
			{from: client, url: url + "/v1/7/get", want: 200},
			{from: client, url: url + "/v1/7/8/get", want: 403},
			{from: client, url: url + "/public/a/b", want: 200},
			{from: client, url: url + "/public", want: 403},
		}},
		{"not paths", "ALLOW", "[{ to: [{ operation: { notPaths: [/closed*] } }] }]", []call{
			{from: client, url: url + "/closed/x", want: 403}, {from: client, url: url + "/x", want: 200},
		}},
		{"methods", "ALLOW", "[{ to: [{ operation: { methods: [GET, HEAD] } }] }]", []call{
			{from: client, method: "POST", url: url + "/", want: 403}, {from: client, url: url + "/", want: 200}, {from: client, method: "DELETE", url: url + "/", want: 403},
		}},
		{"ports", "DENY", "[{ to: [{ operation: { ports: ['8081'] } }] }]", []call{
			{from: client, url: "http://solo:81/", want: 403}, {from: client, url: url + "/", want: 200},
		}},
		{"hosts", "ALLOW", "[{ to: [{ operation: { hosts: [SOLO, 'solo.town*'] } }] }]", []call{
			{from: plain, url: direct + "/", want: 403}, {from: client, url: url + "/", want: 200}, {from: client, url: "http://solo.town/", want: 200},
		}},
		{"headers", "DENY", "[{ when: [{ key: 'request.headers[x-role]', values: [bad*] }] }]", []call{
			{from: client, url: url + "/", header: []string{"X-Role", "bad-one"}, want: 403},
			{from: client, url: url + "/", header: []string{"X-Role", "good", "X-Role", "bad"}, want: 403},
			{from: client, url: url + "/", header: []string{"X-Role", "good"}, want: 200},
			{from: client, url: url + "/", want: 200},
		}},
		{"addresses", "ALLOW", fmt.Sprintf("[{ from: [{ source: { ipBlocks: [%s] } }] }]", client.Addr()), []call{
			{from: plain, url: direct + "/", want: 403}, {from: web, url: url + "/", want: 403}, {from: client, url: url + "/", want: 200},
		}},
		{"remote addresses", "DENY", "[{ from: [{ source: { remoteIpBlocks: [192.0.2.0/24] } }] }]", []call{
			{from: plain, url: direct + "/", header: []string{"X-Forwarded-For", "10.0.0.1, 192.0.2.9"}, want: 403},
			{from: plain, url: direct + "/", header: []string{"X-Forwarded-For", "192.0.2.9, 10.0.0.1"}, want: 200},
			{from: plain, url: direct + "/", want: 200},
		}},
		{"server names", "ALLOW", "[{ when: [{ key: connection.sni, values: ['outbound_.80_.*'] }] }]", []call{
			{from: plain, url: direct + "/", want: 403}, {from: client, url: url + "/", want: 200},
		}},
		{"audit", "AUDIT", "[{}]", []call{{from: client, url: url + "/", want: 200}, {from: plain, url: direct + "/", want: 200}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			apply(t, mesh, "policy", authorization("policy", c.action, c.rules))
			agree(t, c.calls)
		})
	}
	t.Run("DENY comes before ALLOW, and the log names the policy", func(t *testing.T) {
		apply(t, mesh, "policy", authorization("policy", "ALLOW", "[{ to: [{ operation: { methods: [GET] } }] }]"))
		apply(t, mesh, "never", authorization("never", "DENY", "[{ to: [{ operation: { paths: [/never/*] } }] }]"))
		agree(t, []call{
			{from: client, url: url + "/never/here", want: 403}, {from: client, method: "PUT", url: url + "/put", want: 403}, {from: client, url: url + "/", want: 200},
		})
		expect(t, logLine(t, solo, "/never/here"), map[int]string{
			fieldCode: "403", fieldFlags: "-", fieldDetails: "rbac_access_denied_matched_policy[ns[town]-policy[never]-rule[0]]",
		})
		expect(t, logLine(t, solo, "/put"), map[int]string{fieldCode: "403", fieldFlags: "-", fieldDetails: "rbac_access_denied_matched_policy[none]"})
		r := client.Get(url + "/never/again")
		if string(r.Body) != "RBAC: access denied" {
			t.Errorf("got %q", r.Body)
		}
		remove(t, mesh, "never")
	})
	t.Run("dry run", func(t *testing.T) {
		dry := strings.Replace(authorization("policy", "DENY", "[{}]"), "namespace: town }", `namespace: town, annotations: { "istio.io/dry-run": "true" } }`, 1)
		apply(t, mesh, "policy", dry)
		eventually(t, "a decision without effect is counted", func() bool {
			if !takes(client, url+"/") {
				t.Fatal("a dry run denies")
			}
			stats, err := solo.Stats()
			if err != nil {
				t.Fatal(err)
			}
			for name, n := range stats {
				if strings.Contains(name, "shadow_denied") && n != "0" {
					return true
				}
			}
			return false
		})
	})
	t.Run("flips under load answer all", func(t *testing.T) {
		remove(t, mesh, "policy")
		eventually(t, "all get in", func() bool { return takes(client, url+"/") })
		running := startLoad(t, client, url+"/open", 200)
		for range 5 {
			apply(t, mesh, "policy", authorization("policy", "DENY", "[{ to: [{ operation: { paths: [/shut] } }] }]"))
			eventually(t, "it denies", func() bool { return client.Get(url+"/shut").Status == 403 })
			remove(t, mesh, "policy")
			eventually(t, "it does not", func() bool { return client.Get(url+"/shut").Status == 200 })
		}
		running.lossless(t, 50)
	})
}

func TestMeshAuthorizationOfConnections(t *testing.T) {
	mesh := town(t, testmesh.WithMeshConfig(logged))
	pods := mesh.Pods("client", "solo", "web-1")
	client, solo, web := pods[0], pods[1], pods[2]
	plain := mesh.PlainPod("plain")
	direct := net.JoinHostPort(solo.Addr().String(), "3308")
	passes := func(from *testmesh.Pod, addr string) bool {
		c, err := tryDial(t, from, addr)
		if err != nil {
			return false
		}
		defer c.Close()
		return echoes(c) == nil
	}
	for _, c := range []struct {
		name, action, rules     string
		client, web, plain, any bool // any is a port that no service has
	}{
		{"none allowed", "ALLOW", "[]", false, false, false, false},
		{"principals", "ALLOW", "[{ from: [{ source: { principals: [cluster.local/ns/town/sa/client] } }] }]", true, false, false, true},
		{"ports", "DENY", "[{ to: [{ operation: { ports: ['3308'] } }] }]", false, false, false, true},
		{"namespaces", "ALLOW", "[{ from: [{ source: { namespaces: [town] } }] }]", true, true, false, true},
		{"addresses", "DENY", fmt.Sprintf("[{ from: [{ source: { ipBlocks: [%s/32] } }] }]", web.Addr()), true, false, true, true},
		{"what connections do not have is left out of a DENY", "DENY", "[{ to: [{ operation: { methods: [GET], ports: ['3308'] } }] }]", false, false, false, true},
		{"what connections do not have cannot allow", "ALLOW", "[{ to: [{ operation: { methods: [GET] } }] }]", false, false, false, false},
		{"all", "ALLOW", "[{}]", true, true, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			apply(t, mesh, "policy", authorization("policy", c.action, c.rules))
			right := func() bool {
				return passes(client, "solo:3308") == c.client && passes(web, "solo:3308") == c.web && passes(plain, direct) == c.plain
			}
			eventually(t, "the policy is in force", right)
		})
	}
	t.Run("the log names the policy and no upstream", func(t *testing.T) {
		apply(t, mesh, "policy", authorization("named", "DENY", "[{ to: [{ operation: { ports: ['3308'] } }] }]"))
		eventually(t, "the policy is in force", func() bool { return !passes(client, "solo:3308") })
		eventually(t, "the log names it", func() bool {
			return strings.Contains(solo.SidecarLog(), "rbac_access_denied_matched_policy[ns[town]-policy[named]-rule[0]]")
		})
		stats, err := solo.Stats()
		if err != nil {
			t.Fatal(err)
		}
		counted := false
		for name, n := range stats {
			counted = counted || strings.HasPrefix(name, "tcp.") && strings.HasSuffix(name, "rbac.denied") && n != "0"
		}
		if !counted {
			t.Error("no denial is counted")
		}
	})
	t.Run("a server that speaks first is not reached by whom the policy refuses", func(t *testing.T) {
		apply(t, mesh, "policy", authorization("named", "DENY", "[{ from: [{ source: { notPrincipals: ['*'] } }] }]"))
		eventually(t, "the policy is in force", func() bool { return !passes(plain, direct) && passes(client, "solo:3308") })
		got, _ := talk(t, plain, net.JoinHostPort(solo.Addr().String(), "3306"), "", time.Second)
		if got != "" {
			t.Errorf("got %q", got)
		}
	})
}
