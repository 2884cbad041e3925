package dnat_test

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/dnat"
)

var update = flag.Bool("update", false, "write the golden files")

func prefixes(texts ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, t := range texts {
		list = append(list, netip.MustParsePrefix(t))
	}
	return list
}

func addrs(texts ...string) []netip.Addr {
	var list []netip.Addr
	for _, t := range texts {
		list = append(list, netip.MustParseAddr(t))
	}
	return list
}

// scenarios carry the names of the cases istio-iptables is tested with.
var scenarios = map[string]func(*dnat.Config){
	"empty":             func(*dnat.Config) {},
	"basic-exclude-nic": func(c *dnat.Config) { c.ExcludedInterfaces = []string{"not-istio-nic"} },
	"drop-invalid":      func(c *dnat.Config) { c.DropInvalid = true },
	"host-ipv4-loopback-cidr": func(c *dnat.Config) {
		c.Outbound.Loopback = netip.MustParsePrefix("127.0.0.1/8")
	},
	"inbound-ports-include":  func(c *dnat.Config) { c.Inbound.Ports = []uint16{32000, 31000} },
	"inbound-ports-wildcard": func(c *dnat.Config) { c.Inbound.All = true },
	"outbound-ports-include": func(c *dnat.Config) { c.Outbound.Ports = []uint16{32000, 31000} },
	"ipnets":                 func(c *dnat.Config) { c.Outbound.CIDRs = prefixes("10.0.0.0/8") },
	"ip-range": func(c *dnat.Config) {
		c.Outbound.CIDRs, c.Outbound.ExcludeCIDRs = prefixes("9.9.0.0/16"), prefixes("1.1.0.0/16")
		severalIDs(c)
		c.DNS = dnat.DNS{Redirect: true, Servers: addrs("127.0.0.53")}
	},
	"loopback-outbound-iprange": func(c *dnat.Config) {
		c.Outbound.CIDRs = prefixes("127.1.2.3/32")
		severalIDs(c)
		c.DNS = dnat.DNS{Redirect: true, Servers: addrs("127.0.0.53")}
	},
	"dns-uid-gid": func(c *dnat.Config) {
		severalIDs(c)
		c.IPv6 = true
		c.DNS = dnat.DNS{Redirect: true, Servers: addrs("127.0.0.53", "::127.0.0.53")}
	},
	"ipv6-dns-uid-gid": func(c *dnat.Config) {
		severalIDs(c)
		c.IPv6, c.DNS.Redirect = true, true
	},
	"outbound-owner-groups":         func(c *dnat.Config) { c.Outbound.Groups = []uint32{3000, 202} },
	"outbound-owner-groups-exclude": func(c *dnat.Config) { c.Outbound.ExcludeGroups = []uint32{888, 21} },
	"ipv6-dns-outbound-owner-groups": func(c *dnat.Config) {
		c.IPv6, c.DNS.Redirect, c.Outbound.Groups = true, true, []uint32{3000, 202}
	},
	"ipv6-dns-outbound-owner-groups-exclude": func(c *dnat.Config) {
		c.IPv6, c.DNS.Redirect, c.Outbound.ExcludeGroups = true, true, []uint32{888, 21}
	},
	"kube-virt-interfaces": func(c *dnat.Config) {
		c.VirtualInterfaces, c.Outbound.All = []string{"eth1", "eth2"}, true
	},
	"ipnets-with-kube-virt-interfaces": func(c *dnat.Config) {
		c.VirtualInterfaces, c.Outbound.CIDRs = []string{"eth1", "eth2"}, prefixes("10.0.0.0/8")
	},
	"ipv6-virt-interfaces": func(c *dnat.Config) {
		c.IPv6, c.Inbound.Ports, c.VirtualInterfaces = true, []uint16{4000, 5000}, []string{"eth0", "eth1"}
	},
	"ipv6-ipnets": func(c *dnat.Config) {
		ipv6Nets(c)
	},
	"ipv6-uid-gid": func(c *dnat.Config) {
		ipv6Nets(c)
		severalIDs(c)
	},
	"ipv6-inbound-ports":       func(c *dnat.Config) { c.IPv6, c.Inbound.Ports = true, []uint16{4000, 5000} },
	"ipv6-empty-inbound-ports": func(c *dnat.Config) { c.IPv6 = true },
	"ipv6-outbound-ports":      func(c *dnat.Config) { c.IPv6, c.Outbound.Ports = true, []uint16{32000, 31000} },

	// Beyond Istio's list.
	"mode-none": func(c *dnat.Config) { c.Mode, c.Inbound.All, c.Outbound.All = dnat.ModeNone, true, true },
	"sidecar-default": func(c *dnat.Config) {
		c.IPv6, c.Inbound.All, c.Outbound.All = true, true, true
		c.Inbound.ExcludePorts = []uint16{15090, 15021, 15020}
	},
	"dns-capture-all": func(c *dnat.Config) {
		c.IPv6, c.Outbound.All = true, true
		c.DNS = dnat.DNS{Redirect: true, CaptureAll: true}
	},
	"dns-port-excluded": func(c *dnat.Config) {
		c.Outbound.All, c.Outbound.ExcludePorts = true, []uint16{53}
		c.DNS = dnat.DNS{Redirect: true, CaptureAll: true}
	},
	"guest-with-excluded-range": func(c *dnat.Config) {
		c.VirtualInterfaces, c.Outbound.All = []string{"vnet+"}, true
		c.Outbound.ExcludeCIDRs = prefixes("10.96.0.1/32")
	},
}

func severalIDs(c *dnat.Config) {
	c.Proxy = dnat.Identity{UIDs: []uint32{3, 4}, GIDs: []uint32{1, 2}}
}

func ipv6Nets(c *dnat.Config) {
	c.IPv6 = true
	c.Inbound.Ports, c.Inbound.ExcludePorts = []uint16{4000, 5000}, []uint16{6000, 7000}
	c.VirtualInterfaces = []string{"eth0", "eth1"}
	c.Outbound.CIDRs, c.Outbound.ExcludeCIDRs = prefixes("2001:db8::/32"), prefixes("2001:db8::/32")
}

func TestPlanMatchesGoldenFile(t *testing.T) {
	t.Parallel()
	for name, change := range scenarios {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := dnat.DefaultConfig()
			change(&c)
			plan, err := dnat.NewPlan(c)
			if err != nil {
				t.Fatalf("NewPlan: %v", err)
			}
			var b strings.Builder
			for _, w := range plan.Warnings {
				b.WriteString("# warning: " + w + "\n")
			}
			b.WriteString("## iptables-restore\n" + plan.RestoreText(dnat.IPv4))
			b.WriteString("## ip6tables-restore\n" + plan.RestoreText(dnat.IPv6))
			b.WriteString("## nft\n" + plan.NFTText())
			compareGolden(t, name, b.String())
		})
	}
}

func compareGolden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("plan differs from %s; run the test with -update and read the diff.\ngot:\n%s", file, got)
	}
}

func TestDigestFollowsRules(t *testing.T) {
	t.Parallel()
	digest := func(change func(*dnat.Config)) string {
		c := dnat.DefaultConfig()
		change(&c)
		plan, err := dnat.NewPlan(c)
		if err != nil {
			t.Fatal(err)
		}
		return plan.Digest
	}
	base := digest(func(*dnat.Config) {})
	if got := digest(func(*dnat.Config) {}); got != base {
		t.Errorf("same config, digest %s, want %s", got, base)
	}
	if got := digest(func(c *dnat.Config) { c.Outbound.All = true }); got == base {
		t.Error("other rules, same digest")
	}
	if got := digest(func(c *dnat.Config) { c.Inbound.ExcludePorts = []uint16{9} }); got != base {
		t.Error("a change without effect on the rules changed the digest")
	}
}

func TestValidateNamesEveryProblem(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(*dnat.Config)
		want   []string
	}{
		"unknown mode":   {func(c *dnat.Config) { c.Mode = "VPN" }, []string{"--istio-inbound-interception-mode (Mode)", `"VPN"`}},
		"tproxy":         {func(c *dnat.Config) { c.Mode = dnat.ModeTProxy }, []string{"TPROXY is not supported"}},
		"zero port":      {func(c *dnat.Config) { c.Ports.Outbound = 0 }, []string{"--envoy-port (Ports.Outbound): must not be 0"}},
		"same port":      {func(c *dnat.Config) { c.Ports.Inbound = 15001 }, []string{"--inbound-capture-port", "15001 is also --envoy-port"}},
		"port list zero": {func(c *dnat.Config) { c.Inbound.ExcludePorts = []uint16{0} }, []string{"--istio-local-exclude-ports"}},
		"no identity":    {func(c *dnat.Config) { c.Proxy = dnat.Identity{} }, []string{"loop for ever"}},
		"no uid":         {func(c *dnat.Config) { c.Proxy.UIDs = []uint32{1<<32 - 1} }, []string{"--proxy-uid", "no id"}},
		"many groups":    {func(c *dnat.Config) { c.Outbound.Groups = make([]uint32, 65) }, []string{"65 entries, at most 64"}},
		"bad prefix":     {func(c *dnat.Config) { c.Outbound.CIDRs = []netip.Prefix{{}} }, []string{"--istio-service-cidr"}},
		"v6 loopback":    {func(c *dnat.Config) { c.Outbound.Loopback = netip.MustParsePrefix("::1/128") }, []string{"ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR"}},
		"zoned server":   {func(c *dnat.Config) { c.DNS.Servers = addrs("fe80::1%eth0") }, []string{"nameservers"}},
		"injection":      {func(c *dnat.Config) { c.ExcludedInterfaces = []string{"x\n-F"} }, []string{"--istio-exclude-interfaces", "contains"}},
		"long name":      {func(c *dnat.Config) { c.VirtualInterfaces = []string{"sixteen-bytes-xx"} }, []string{"longer than 15"}},
		"both kinds": {func(c *dnat.Config) {
			c.VirtualInterfaces, c.ExcludedInterfaces = []string{"eth1"}, []string{"eth1"}
		}, []string{"also excluded"}},
		"several": {func(c *dnat.Config) {
			c.Ports.Outbound, c.Mode, c.Outbound.Ports = 0, "X", []uint16{0}
		}, []string{"--envoy-port", "(Mode)", "--istio-outbound-ports"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := dnat.DefaultConfig()
			tt.change(&c)
			_, err := dnat.NewPlan(c)
			if err == nil {
				t.Fatal("NewPlan succeeded")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not contain %q", err, want)
				}
			}
		})
	}
}
