package initcmd_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/outrigger-mesh/outrigger/dnat"
)

// backends are the ways to write rules; tool is what must be installed.
var backends = []struct {
	name, flag, tool string
}{
	{"nftables", "--native-nftables", ""},
	{"iptables-nft", "--force-iptables-binary=nft", "iptables-nft-restore"},
	{"iptables-legacy", "--force-iptables-binary=legacy", "iptables-legacy-restore"},
}

func forEachBackend(t *testing.T, f func(t *testing.T, m *mesh, flag string)) {
	t.Helper()
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			if _, err := exec.LookPath(b.tool); b.tool != "" && err != nil {
				t.Skipf("%s is not installed", b.tool)
			}
			if b.name == "iptables-legacy" {
				if code, log := newMesh(t).init(t, os.Environ(), b.flag); code == 4 {
					t.Skipf("iptables-legacy is not usable with this kernel: %s", log)
				}
			}
			m := newMesh(t)
			f(t, m, b.flag)
		})
	}
}

func forEachFamily(t *testing.T, f func(t *testing.T, family dnat.Family)) {
	t.Helper()
	for _, family := range []dnat.Family{dnat.IPv4, dnat.IPv6} {
		t.Run(family.String(), func(t *testing.T) { f(t, family) })
	}
}

func hostPort(ip string, port int) string {
	if strings.Contains(ip, ":") {
		return fmt.Sprintf("[%s]:%d", ip, port)
	}
	return fmt.Sprintf("%s:%d", ip, port)
}

// wantDial is one connection and what answers it.
type wantDial struct {
	name   string
	ns     *namespace
	owner  owner
	source string
	ip     string
	port   int
	want   string
}

func check(t *testing.T, tests []wantDial) {
	t.Helper()
	for _, tt := range tests {
		if got := tt.ns.dial(tt.owner, tt.source, tt.ip, tt.port); got != tt.want {
			t.Errorf("%s: dial %s: got %q, want %q", tt.name, hostPort(tt.ip, tt.port), got, tt.want)
		}
	}
}

func TestSidecarCapture(t *testing.T) {
	forEachBackend(t, func(t *testing.T, m *mesh, flag string) {
		m.mustInit(t, flag, "-i", "*", "-b", "*", "-d", "15020,8081", "-o", "9999", "-x", "198.51.100.0/24,2001:db8:f::/48")
		forEachFamily(t, func(t *testing.T, f dnat.Family) {
			pod, peer, far, free := podIPs[f], peerIPs[f], farIPs[f], freeIPs[f]
			check(t, []wantDial{
				{"an app's call", m.pod, app, "", far, 80, "15001 " + hostPort(far, 80)},
				{"an app's call to the neighbour", m.pod, app, "", peer, 80, "15001 " + hostPort(peer, 80)},
				{"root is an app too", m.pod, owner{}, "", far, 80, "15001 " + hostPort(far, 80)},
				{"the proxy by user", m.pod, proxyUser, "", far, 80, "peer from " + pod},
				{"the proxy by group", m.pod, proxyGroup, "", far, 80, "peer from " + pod},
				{"excluded port", m.pod, app, "", far, 9999, "peer from " + pod},
				{"excluded range", m.pod, app, "", free, 80, "peer from " + pod},
				{"inbound", m.peer, app, "", pod, 8080, "15006 " + hostPort(pod, 8080)},
				{"inbound to a port nobody listens on", m.peer, app, "", pod, 4, "15006 " + hostPort(pod, 4)},
				{"excluded inbound port", m.peer, app, "", pod, 8081, "app from " + peer},
				{"HBONE", m.peer, app, "", pod, 15008, "app from " + peer},
				{"direct dial of the inbound port shows itself", m.peer, app, "", pod, 15006, "15006 " + hostPort(pod, 15006)},
				{"direct dial of the outbound port is inbound", m.peer, app, "", pod, 15001, "15006 " + hostPort(pod, 15001)},
				{"proxy to its app", m.pod, proxyUser, sources[f], pod, 8080, "app from " + sources[f]},
				{"passthrough source, whoever sends", m.pod, app, sources[f], pod, 8080, "app from " + sources[f]},
				{"proxy calls its own pod, by user", m.pod, proxyUser, "", pod, 8080, "15006 " + hostPort(pod, 8080)},
				{"proxy calls its own pod, by group", m.pod, proxyGroup, "", pod, 8080, "15006 " + hostPort(pod, 8080)},
				{"app calls its own pod", m.pod, app, "", pod, 8080, "app from " + pod},
				{"app on localhost", m.pod, app, "", locals[f], 8080, "app from " + locals[f]},
				{"proxy on localhost", m.pod, proxyUser, "", locals[f], 8080, "app from " + locals[f]},
			})
		})
	})
}

func TestIncludedOnlyCapture(t *testing.T) {
	forEachBackend(t, func(t *testing.T, m *mesh, flag string) {
		m.mustInit(t, flag, "-i", "192.0.2.0/24,2001:db8::/64", "-b", "8080", "-q", "7777", "-u", "3,4", "-g", "5")
		forEachFamily(t, func(t *testing.T, f dnat.Family) {
			pod, peer, far, free := podIPs[f], peerIPs[f], farIPs[f], freeIPs[f]
			check(t, []wantDial{
				{"included range", m.pod, app, "", far, 80, "15001 " + hostPort(far, 80)},
				{"other range", m.pod, app, "", free, 80, "peer from " + pod},
				{"included port", m.pod, app, "", free, 7777, "15001 " + hostPort(free, 7777)},
				{"included inbound port", m.peer, app, "", pod, 8080, "15006 " + hostPort(pod, 8080)},
				{"other inbound port", m.peer, app, "", pod, 8082, "app from " + peer},
				{"first user calls its own pod", m.pod, owner{3, 3}, "", pod, 8082, "15006 " + hostPort(pod, 8082)},
				{"second user calls its own pod", m.pod, owner{4, 4}, "", pod, 8082, "15006 " + hostPort(pod, 8082)},
				{"group calls its own pod", m.pod, owner{0, 5}, "", pod, 8082, "15006 " + hostPort(pod, 8082)},
				{"second user is not captured", m.pod, owner{4, 4}, "", far, 80, "peer from " + pod},
				{"former user is captured", m.pod, proxyUser, "", far, 80, "15001 " + hostPort(far, 80)},
			})
		})
	})
}

func TestExcludedInterface(t *testing.T) {
	forEachBackend(t, func(t *testing.T, m *mesh, flag string) {
		m.mustInit(t, flag, "-i", "*", "-b", "*", "-c", "eth0")
		forEachFamily(t, func(t *testing.T, f dnat.Family) {
			check(t, []wantDial{
				{"outbound", m.pod, app, "", farIPs[f], 80, "peer from " + podIPs[f]},
				{"inbound", m.peer, app, "", podIPs[f], 8080, "app from " + peerIPs[f]},
			})
		})
		m.mustInit(t, flag, "-i", "*", "-b", "*", "-c", "eth+")
		check(t, []wantDial{{"wildcard", m.pod, app, "", farIPs[dnat.IPv4], 80, "peer from " + podIPs[dnat.IPv4]}})
	})
}

func TestGuestTrafficIsOutbound(t *testing.T) {
	forEachBackend(t, func(t *testing.T, m *mesh, flag string) {
		m.mustInit(t, flag, "-i", "*", "-b", "*", "-k", "eth0")
		forEachFamily(t, func(t *testing.T, f dnat.Family) {
			check(t, []wantDial{{"from the guest", m.peer, app, "", podIPs[f], 8080, "15001 " + hostPort(podIPs[f], 8080)}})
		})
	})
}

func TestOwnerGroups(t *testing.T) {
	forEachBackend(t, func(t *testing.T, m *mesh, flag string) {
		environ := []string{"PATH=" + os.Getenv("PATH"), "ISTIO_OUTBOUND_OWNER_GROUPS=2000,2001", "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE=2001"}
		if code, log := m.init(t, environ, flag, "-i", "*"); code != 0 {
			t.Fatalf("exit code %d: %s", code, log)
		}
		far, pod := farIPs[dnat.IPv4], podIPs[dnat.IPv4]
		check(t, []wantDial{
			{"included group", m.pod, owner{1000, 2000}, "", far, 80, "15001 " + hostPort(far, 80)},
			{"excluded group", m.pod, owner{1000, 2001}, "", far, 80, "peer from " + pod},
			{"other group", m.pod, app, "", far, 80, "peer from " + pod},
		})
	})
}

var sidecarArgs = []string{"-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT", "-i", "*", "-x", "", "-b", "*", "-d", "15090,15021,15020"}

func with(flag string, more ...string) []string {
	return append(append([]string{flag}, sidecarArgs...), more...)
}

func TestSecondRunChangesNothing(t *testing.T) {
	forEachBackend(t, func(t *testing.T, m *mesh, flag string) {
		args := with(flag, "--redirect-dns", "--capture-all-dns", "--drop-invalid", "-c", "foo0,bar+", "-x", "10.1.0.0/16,fd01::/48", "-o", "22")
		if log := m.mustInit(t, args...); !strings.Contains(log, "changed=true") {
			t.Fatalf("first run: %s", log)
		}
		before := m.dump(t)
		log := m.mustInit(t, args...)
		if !strings.Contains(log, "changed=false") {
			t.Errorf("second run: %s", log)
		}
		if after := m.dump(t); after != before {
			t.Errorf("rules after second run:\n%s\nbefore:\n%s", after, before)
		}
		if log := m.mustInit(t, append(args, "--force-apply")...); !strings.Contains(log, "changed=true") {
			t.Errorf("forced run: %s", log)
		}
	})
}

func TestDamagedRulesAreRepaired(t *testing.T) {
	damage := map[string][]string{
		"--native-nftables":              {"nft", "flush", "chain", "ip", "outrigger-nat", "istio-output"},
		"--force-iptables-binary=nft":    {"iptables-nft", "-t", "nat", "-D", "ISTIO_OUTPUT", "1"},
		"--force-iptables-binary=legacy": {"iptables-legacy", "-t", "nat", "-D", "OUTPUT", "1"},
	}
	forEachBackend(t, func(t *testing.T, m *mesh, flag string) {
		m.mustInit(t, with(flag)...)
		if _, err := exec.LookPath(damage[flag][0]); err != nil {
			t.Skip("no tool to do damage with")
		}
		m.pod.do(t, owner{}, func() error { return exec.CommandContext(t.Context(), damage[flag][0], damage[flag][1:]...).Run() })
		if log := m.mustInit(t, with(flag)...); !strings.Contains(log, "changed=true") {
			t.Errorf("run after damage: %s", log)
		}
		far := farIPs[dnat.IPv4]
		check(t, []wantDial{{"app", m.pod, app, "", far, 80, "15001 " + hostPort(far, 80)}})
	})
}

func TestChangedConfigSwapsAndCleanupLeavesNothing(t *testing.T) {
	forEachBackend(t, func(t *testing.T, m *mesh, flag string) {
		far, pod := farIPs[dnat.IPv4], podIPs[dnat.IPv4]
		m.mustInit(t, with(flag, "--drop-invalid", "--redirect-dns", "--capture-all-dns")...)
		m.mustInit(t, with(flag, "-o", "80")...)
		check(t, []wantDial{
			{"newly excluded", m.pod, app, "", far, 80, "peer from " + pod},
			{"still captured", m.pod, app, "", far, 7777, "15001 " + hostPort(far, 7777)},
		})
		if rules := m.dump(t); strings.Contains(strings.ToLower(rules), "drop") {
			t.Errorf("rules of the first run are left:\n%s", rules)
		}
		m.mustInit(t, "--cleanup-only", flag)
		check(t, []wantDial{{"after clean-up", m.pod, app, "", far, 7777, "peer from " + pod}})
		expectClean(t, m)
		if log := m.mustInit(t, "--cleanup-only", flag); !strings.Contains(log, "changed=false") {
			t.Errorf("second clean-up: %s", log)
		}
	})
}

func expectClean(t *testing.T, m *mesh) {
	t.Helper()
	rules := strings.ToLower(m.dump(t))
	for _, word := range []string{"istio", "outrigger", "counter", "-a "} {
		if strings.Contains(rules, word) {
			t.Errorf("%q is left after clean-up:\n%s", word, rules)
		}
	}
	m.pod.do(t, owner{}, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		addrs, err := netlink.AddrList(lo, netlink.FAMILY_V6)
		for _, a := range addrs {
			if a.IP.String() == "::6" {
				t.Error("::6 is left on lo")
			}
		}
		return err
	})
}

// TestBackendsReplaceEachOther goes round all backends: at each step exactly one capture may be left.
func TestBackendsReplaceEachOther(t *testing.T) {
	m := newMesh(t)
	far := farIPs[dnat.IPv6]
	for range 2 {
		for _, b := range backends {
			if _, err := exec.LookPath(b.tool); b.tool != "" && err != nil {
				continue
			}
			m.mustInit(t, with(b.flag)...)
			check(t, []wantDial{{b.name, m.pod, app, "", far, 80, "15001 " + hostPort(far, 80)}})
			if log := m.mustInit(t, with(b.flag)...); !strings.Contains(log, "changed=false") {
				t.Errorf("%s, second run: %s", b.name, log)
			}
			if rules := strings.ToLower(m.dump(t)); strings.Count(rules, "chain outrigger-")+strings.Count(rules, "chain outrigger_") > 2 {
				t.Errorf("%s: more than one capture:\n%s", b.name, rules)
			}
		}
	}
	m.mustInit(t, "--cleanup-only")
	expectClean(t, m)
}

func TestWithoutIPTablesRulesGoByNetlink(t *testing.T) {
	m := newMesh(t)
	code, log := m.init(t, nil, sidecarArgs...)
	if code != 0 || !strings.Contains(log, "backend=nftables") {
		t.Fatalf("exit code %d: %s", code, log)
	}
	forEachFamily(t, func(t *testing.T, f dnat.Family) {
		check(t, []wantDial{{"app", m.pod, app, "", farIPs[f], 80, "15001 " + hostPort(farIPs[f], 80)}})
	})
}

func TestForcedBinaryMustExist(t *testing.T) {
	m := newMesh(t)
	if code, log := m.init(t, nil, "--force-iptables-binary=nft"); code != 4 {
		t.Errorf("exit code %d, want 4: %s", code, log)
	}
}

func TestIPv6CanBeLeftOut(t *testing.T) {
	m := newMesh(t)
	code, log := m.init(t, []string{"OUTRIGGER_IPV6=false"}, sidecarArgs...)
	if code != 0 || !strings.Contains(log, "ipv6=false") {
		t.Fatalf("exit code %d: %s", code, log)
	}
	check(t, []wantDial{{"IPv6", m.pod, app, "", farIPs[dnat.IPv6], 80, "peer from " + podIPs[dnat.IPv6]}})
}

// TestPrintedPlanIsWhatTheToolsTake feeds the dry run to the tools it is written for.
func TestPrintedPlanIsWhatTheToolsTake(t *testing.T) {
	m := newMesh(t)
	text := m.mustInit(t, append(sidecarArgs, "-n", "--redirect-dns", "--capture-all-dns", "--drop-invalid", "-k", "vnet+", "-x", "10.1.0.0/16,fd01::/48")...)
	if rules := m.dump(t); rules != "" {
		t.Errorf("a dry run wrote rules:\n%s", rules)
	}
	v4, v6, _ := strings.Cut(text, "# IPv6, for")
	t.Run("iptables", func(t *testing.T) { m.feed(t, v4, "iptables-nft-restore", "--noflush") })
	t.Run("ip6tables", func(t *testing.T) { m.feed(t, "# "+v6, "ip6tables-nft-restore", "--noflush") })
	t.Run("nft", func(t *testing.T) {
		m.feed(t, m.mustInit(t, append(sidecarArgs, "-n", "--native-nftables", "--redirect-dns", "--capture-all-dns", "--drop-invalid", "-k", "vnet+", "-x", "10.1.0.0/16,fd01::/48")...), "nft", "-f", "-")
		if log := m.mustInit(t, append(sidecarArgs, "--native-nftables", "--redirect-dns", "--capture-all-dns", "--drop-invalid", "-k", "vnet+", "-x", "10.1.0.0/16,fd01::/48")...); !strings.Contains(log, "changed=true") {
			t.Errorf("the iptables rules of the steps before were not replaced: %s", log)
		}
	})
}
