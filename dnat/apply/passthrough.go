package apply

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/outrigger-mesh/outrigger/dnat"
)

func passthroughAddr() *netlink.Addr {
	source := dnat.PassthroughSource(netip.IPv6Loopback())
	return &netlink.Addr{IPNet: &net.IPNet{IP: source.AsSlice(), Mask: net.CIDRMask(128, 128)}}
}

// addPassthrough makes ::6 local. 127.0.0.6 is local on every machine.
func addPassthrough() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return explainNetlink("find interface lo", err)
	}
	err = netlink.AddrAdd(lo, passthroughAddr())
	switch {
	case errors.Is(err, unix.EEXIST):
		return nil
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("add ::6/128 to lo: %w: IPv6 is disabled on lo: set net.ipv6.conf.lo.disable_ipv6=0, or OUTRIGGER_IPV6=false to leave IPv6 uncaptured: %w", ErrUnsupported, err)
	default:
		return explainNetlink("add ::6/128 to lo", err)
	}
}

// removePassthrough tells whether the address was there.
func removePassthrough() (bool, error) {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return false, fmt.Errorf("find interface lo: %w", err)
	}
	err = netlink.AddrDel(lo, passthroughAddr())
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EOPNOTSUPP):
		return false, nil
	default:
		return false, explainNetlink("remove ::6/128 from lo", err)
	}
}
