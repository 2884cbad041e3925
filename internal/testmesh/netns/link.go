package netns

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// LoopbackUp sets lo up, which gives it 127.0.0.1 and ::1.
func (n *Namespace) LoopbackUp() error {
	return n.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
}

// AddBridge makes a bridge that owns the prefixes' addresses.
func (n *Namespace) AddBridge(name string, prefixes ...netip.Prefix) error {
	return n.Do(func() error {
		br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}
		if err := netlink.LinkAdd(br); err != nil {
			return fmt.Errorf("add bridge %s: %w", name, err)
		}
		if err := addAddresses(br, prefixes); err != nil {
			return err
		}
		return netlink.LinkSetUp(br)
	})
}

// AddPort joins the namespace inner to the bridge of n by a veth pair whose
// outer end never appears anywhere else. The inner end is called eth0.
func (n *Namespace) AddPort(bridge, outer string, inner *Namespace) error {
	return n.Do(func() error {
		br, err := netlink.LinkByName(bridge)
		if err != nil {
			return err
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name = outer
		attrs.MasterIndex = br.Attrs().Index
		attrs.Flags = net.FlagUp
		veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(inner.FD())}
		if err := netlink.LinkAdd(veth); err != nil {
			return fmt.Errorf("add veth %s: %w", outer, err)
		}
		return netlink.LinkSetUp(veth)
	})
}

// DeletePort removes the veth pair that AddPort made.
func (n *Namespace) DeletePort(outer string) error {
	return n.Do(func() error {
		link, err := netlink.LinkByName(outer)
		if err != nil {
			return err
		}
		return netlink.LinkDel(link)
	})
}

// Configure gives eth0 its addresses, sets it up and adds a default route by
// each gateway.
func (n *Namespace) Configure(prefixes []netip.Prefix, gateways []netip.Addr) error {
	return n.Do(func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		if err := addAddresses(link, prefixes); err != nil {
			return err
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return err
		}
		for _, gw := range gateways {
			r := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: everything(gw), Gw: gw.AsSlice()}
			if err := netlink.RouteAdd(r); err != nil {
				return fmt.Errorf("add default route by %s: %w", gw, err)
			}
		}
		return nil
	})
}

// RejectUnknown answers packets to addresses that nobody owns with "host
// unreachable", so that a dial without a sidecar fails at once and not after
// minutes of silence.
// The families are those of the unspecified addresses given.
func (n *Namespace) RejectUnknown(families ...netip.Addr) error {
	return n.Do(func() error {
		for _, family := range families {
			r := &netlink.Route{Dst: everything(family), Type: unix.RTN_UNREACHABLE, Priority: 9999}
			if err := netlink.RouteAdd(r); err != nil {
				return fmt.Errorf("add unreachable route: %w", err)
			}
		}
		return nil
	})
}

// Sysctl sets one value below /proc/sys/net, such as ipv4/ip_forward.
func (n *Namespace) Sysctl(name, value string) error {
	return n.Do(func() error {
		return os.WriteFile(filepath.Join("/proc/sys/net", name), []byte(value), 0o644)
	})
}

func addAddresses(link netlink.Link, prefixes []netip.Prefix) error {
	for _, p := range prefixes {
		addr := &netlink.Addr{IPNet: ipNet(p)}
		if p.Addr().Is6() {
			addr.Flags = unix.IFA_F_NODAD // usable at once
		}
		if err := netlink.AddrAdd(link, addr); err != nil {
			return fmt.Errorf("add address %s: %w", p, err)
		}
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// everything returns the default destination of the address's family.
func everything(a netip.Addr) *net.IPNet {
	if a.Is4() {
		return ipNet(netip.PrefixFrom(netip.IPv4Unspecified(), 0))
	}
	return ipNet(netip.PrefixFrom(netip.IPv6Unspecified(), 0))
}
