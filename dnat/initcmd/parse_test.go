package initcmd

import (
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/outrigger-mesh/outrigger/dnat"
	"github.com/outrigger-mesh/outrigger/dnat/apply"
)

// fakeSystem is a pod with both families and one nameserver.
func fakeSystem() *system {
	missing := errors.New("no such name")
	return &system{
		addresses: func() ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")}, nil
		},
		resolvers: func() ([]netip.Addr, error) { return []netip.Addr{netip.MustParseAddr("10.96.0.10")}, nil },
		user: func(name string) (uint32, error) {
			if name == "mesh" {
				return 1500, nil
			}
			return 0, missing
		},
		group: func(name string) (uint32, error) {
			if name == "java" {
				return 3000, nil
			}
			return 0, missing
		},
	}
}

func TestConfigure(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		args, environ []string
		change        func(*dnat.Config)
	}{
		"nothing given": {nil, nil, func(*dnat.Config) {}},
		"as the injection template writes it": {
			strings.Split("istio-iptables -p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x  -b * -d 15090,15021,15020 --log_output_level=default:info", " ")[1:], nil,
			func(c *dnat.Config) {
				c.Outbound.All, c.Inbound.All = true, true
				c.Inbound.ExcludePorts = []uint16{15090, 15021, 15020}
			},
		},
		"every short form": {
			[]string{
				"-p1", "-z=2", "-e", "3", "-u", "4,5", "-g6", "-m", "NONE", "-b", "7", "-d8", "-c", "eth9", "-i", "10.0.0.0/8",
				"-x", "11.0.0.1", "-q", "12", "-o", "13,14,", "-k", "vnet1,vnet2", "-t", "1", "-r", "2", "-n",
			},
			nil,
			func(c *dnat.Config) {
				c.Mode = dnat.ModeNone
				c.Ports = dnat.CapturePorts{Outbound: 1, Inbound: 2, Tunnel: 3, DNS: 15053}
				c.Proxy = dnat.Identity{UIDs: []uint32{4, 5}, GIDs: []uint32{6}}
				c.Inbound = dnat.Inbound{Ports: []uint16{7}, ExcludePorts: []uint16{8}}
				c.Outbound.CIDRs = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
				c.Outbound.ExcludeCIDRs = []netip.Prefix{netip.MustParsePrefix("11.0.0.1/32")}
				c.Outbound.Ports, c.Outbound.ExcludePorts = []uint16{12}, []uint16{13, 14}
				c.ExcludedInterfaces, c.VirtualInterfaces = []string{"eth9"}, []string{"vnet1", "vnet2"}
			},
		},
		"environment": {
			nil,
			[]string{"ENVOY_PORT=1", "INBOUND_CAPTURE_PORT=2", "PROXY_UID=3", "ISTIO_INBOUND_PORTS=*", "ISTIO_SERVICE_CIDR=*", "INVALID_DROP=true", "REDIRECT_DNS=true"},
			func(c *dnat.Config) {
				c.Ports.Inbound = 2
				c.Proxy = dnat.Identity{UIDs: []uint32{3}, GIDs: []uint32{3}}
				c.Inbound.All, c.Outbound.All, c.DropInvalid = true, true, true
				c.DNS = dnat.DNS{Redirect: true, Servers: []netip.Addr{netip.MustParseAddr("10.96.0.10")}}
			},
		},
		"a flag wins over the environment": {
			[]string{"--istio-inbound-ports=", "--redirect-dns=false"},
			[]string{"ISTIO_INBOUND_PORTS=*", "REDIRECT_DNS=true"},
			func(*dnat.Config) {},
		},
		"names": {
			nil,
			[]string{"ENVOY_USER=mesh", "ISTIO_OUTBOUND_OWNER_GROUPS=java,202", "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE=888"},
			func(c *dnat.Config) {
				c.Proxy = dnat.Identity{UIDs: []uint32{1500}, GIDs: []uint32{1500}}
				c.Outbound.Groups, c.Outbound.ExcludeGroups = []uint32{3000, 202}, []uint32{888}
			},
		},
		"all groups": {nil, []string{"ISTIO_OUTBOUND_OWNER_GROUPS=*"}, func(*dnat.Config) {}},
		"loopback range": {nil, []string{"ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR=127.0.0.1/8"}, func(c *dnat.Config) {
			c.Outbound.Loopback = netip.MustParsePrefix("127.0.0.0/8")
		}},
		"no IPv6": {nil, []string{"OUTRIGGER_IPV6=false"}, func(c *dnat.Config) { c.IPv6 = false }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, err := parse(tt.args, tt.environ)
			if err != nil {
				t.Fatalf("parse: %v", err)
			}
			got, err := configure(v, fakeSystem())
			if err != nil {
				t.Fatalf("configure: %v", err)
			}
			want := dnat.DefaultConfig()
			want.IPv6 = true
			tt.change(&want)
			if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{}), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("config (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWrongInputNamesItsFlag(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		args, environ []string
		want          string
	}{
		"unknown flag":         {[]string{"--istio-outbond-ports", "1"}, nil, "unknown flag --istio-outbond-ports"},
		"unknown short flag":   {[]string{"-y"}, nil, "unknown flag -y"},
		"stray word":           {[]string{"-i", "*", "passwd"}, nil, `unexpected argument "passwd"`},
		"no value":             {[]string{"-b"}, nil, "-b needs a value"},
		"not a number":         {[]string{"-p", "http"}, nil, `-p: "http" is no number`},
		"not a boolean":        {[]string{"--dry-run=maybe"}, nil, `--dry-run: "maybe" is no boolean`},
		"boolean environment":  {nil, []string{"REDIRECT_DNS=maybe"}, "REDIRECT_DNS"},
		"port out of range":    {[]string{"-d", "1,65536"}, nil, `--istio-local-exclude-ports: "65536" is no port`},
		"port zero":            {[]string{"-z", "0"}, nil, "--inbound-capture-port"},
		"star in a list":       {[]string{"-b", "80,*"}, nil, `--istio-inbound-ports: "*" is no port`},
		"range":                {[]string{"-i", "10.0.0.0/33"}, nil, "--istio-service-cidr"},
		"exclude everything":   {[]string{"-x", "*"}, nil, `--istio-service-exclude-cidr: "*" is no address range`},
		"unknown group":        {nil, []string{"ISTIO_OUTBOUND_OWNER_GROUPS=nobodys"}, "ISTIO_OUTBOUND_OWNER_GROUPS"},
		"uid by name":          {[]string{"-u", "root"}, nil, "--proxy-uid"},
		"IPv6 word":            {nil, []string{"OUTRIGGER_IPV6=maybe"}, "OUTRIGGER_IPV6"},
		"several at a time":    {[]string{"-d", "x", "-i", "y"}, nil, "--istio-service-cidr"},
		"timeout without unit": {[]string{"--probe-timeout", "5"}, nil, `"5" is no duration`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, err := parse(tt.args, tt.environ)
			if err == nil {
				_, err = configure(v, fakeSystem())
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestEveryOptionHasOneName(t *testing.T) {
	t.Parallel()
	names, shorts := map[string]bool{}, map[byte]bool{}
	for _, o := range options {
		if names[o.name] || o.short != 0 && shorts[o.short] {
			t.Errorf("--%s or -%c is there twice", o.name, o.short)
		}
		names[o.name], shorts[o.short] = true, true
	}
	if got := len(options); got != 34 {
		t.Errorf("%d options, want istio-iptables' 32 and the two of logging", got)
	}
}

func TestBackendChoice(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]apply.Choice{
		"": apply.Auto, "--native-nftables": apply.Native, "--force-iptables-binary=nft": apply.IPTablesNFT,
		"--force-iptables-binary=legacy": apply.IPTablesLegacy,
	} {
		v, err := parse(strings.Fields(args), nil)
		if err != nil {
			t.Fatal(err)
		}
		r := &reader{v: v}
		if got := r.choice(); got != want || r.problems != nil {
			t.Errorf("%s: got %q, %v, want %q", args, got, r.problems, want)
		}
	}
	for _, args := range []string{"--force-iptables-binary=bsd", "--native-nftables --force-iptables-binary=nft"} {
		v, err := parse(strings.Fields(args), nil)
		if err != nil {
			t.Fatal(err)
		}
		r := &reader{v: v}
		if r.choice(); r.problems == nil {
			t.Errorf("%s: no complaint", args)
		}
	}
}

func TestResolvers(t *testing.T) {
	t.Parallel()
	got, err := parseResolvers(strings.NewReader("# x\nnameserver 10.0.0.10\nsearch a b\nnameserver fe80::1%eth0\nnameserver 10.0.0.10\nnameserver name\nnameserver\n"))
	want := []netip.Addr{netip.MustParseAddr("10.0.0.10"), netip.MustParseAddr("fe80::1")}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}

func TestProbeFamiliesFollowFirstAddress(t *testing.T) {
	t.Parallel()
	v4, v6 := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")
	tests := map[string]struct {
		addrs []netip.Addr
		both  bool
		want  []dnat.Family
	}{
		"none":           {nil, false, []dnat.Family{dnat.IPv4}},
		"v4 first":       {[]netip.Addr{v4, v6}, false, []dnat.Family{dnat.IPv4}},
		"v6 only":        {[]netip.Addr{v6, v6}, true, []dnat.Family{dnat.IPv6}},
		"both are meant": {[]netip.Addr{v4, v4, v6}, true, []dnat.Family{dnat.IPv4, dnat.IPv6}},
	}
	for name, tt := range tests {
		if got := probeFamilies(tt.addrs, tt.both); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: got %v, want %v", name, got, tt.want)
		}
	}
}

// FuzzConfigure holds that no input panics, and that what is accepted makes a plan whose text has one rule per line.
func FuzzConfigure(f *testing.F) {
	f.Add("15090,15021", "10.0.0.0/8,fd00::/8", "eth0,vnet+", "1337,0")
	f.Add("*", "*", "", "")
	f.Add("1,,2,", "::/0,1.2.3.4", "a\nb", "4294967295")
	f.Add("65536", "10.0.0.0/33", "-x", "-1")
	f.Fuzz(func(t *testing.T, ports, cidrs, interfaces, ids string) {
		v, err := parse([]string{
			"-b", ports, "-d", ports, "-q", ports, "-o" + ports, "-i", cidrs, "-x=" + cidrs,
			"-c", interfaces, "--kube-virt-interfaces=" + interfaces, "-u", ids, "-g", ids, "--redirect-dns",
		}, []string{"ISTIO_OUTBOUND_OWNER_GROUPS=" + ids})
		if err != nil {
			return
		}
		c, err := configure(v, fakeSystem())
		if err != nil {
			return
		}
		plan, err := dnat.NewPlan(c)
		if err != nil {
			return
		}
		for line := range strings.Lines(plan.RestoreText(dnat.IPv4) + plan.RestoreText(dnat.IPv6)) {
			if strings.HasPrefix(line, "# ") {
				continue
			}
			if !strings.ContainsAny(line[:1], "*:-C") || strings.ContainsAny(line, `"'\`) {
				t.Fatalf("line %q", line)
			}
		}
	})
}
