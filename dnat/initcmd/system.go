package initcmd

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/user"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/outrigger-mesh/outrigger/dnat"
)

const maxResolvConf = 64 << 10

func newSystem() *system {
	return &system{addresses: podAddresses, resolvers: readResolvers, user: lookupUser, group: lookupGroup}
}

// podAddresses are those that tell which families a pod uses: neither loopback nor link-local, and not the ::6 an
// earlier run added.
func podAddresses() ([]netip.Addr, error) {
	nets, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list interface addresses: %w", err)
	}
	own := dnat.PassthroughSource(netip.IPv6Loopback())
	var addrs []netip.Addr
	for _, n := range nets {
		prefix, err := netip.ParsePrefix(n.String())
		if err != nil {
			continue
		}
		a := prefix.Addr().Unmap()
		if !a.IsLoopback() && !a.IsLinkLocalUnicast() && a != own {
			addrs = append(addrs, a)
		}
	}
	return addrs, nil
}

func readResolvers() ([]netip.Addr, error) {
	f, err := os.Open("/etc/resolv.conf")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read nameservers: %w", err)
	}
	defer f.Close()
	return parseResolvers(io.LimitReader(f, maxResolvConf))
}

// parseResolvers reads the nameserver lines of a resolv.conf and skips what is no address.
func parseResolvers(r io.Reader) ([]netip.Addr, error) {
	var servers []netip.Addr
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		addr, err := netip.ParseAddr(words[1])
		if addr = addr.Unmap().WithZone(""); err == nil && !slices.Contains(servers, addr) {
			servers = append(servers, addr)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read nameservers: %w", err)
	}
	return servers, nil
}

func lookupUser(name string) (uint32, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return 0, fmt.Errorf("look up user: %w", err)
	}
	return parseID(u.Uid)
}

func lookupGroup(name string) (uint32, error) {
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, fmt.Errorf("look up group: %w", err)
	}
	return parseID(g.Gid)
}

func parseID(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is no numeric id", text)
	}
	return uint32(n), nil
}

// inNamespace runs f on a thread of its own in the network namespace at path, or right here without a path. The
// thread ends with the goroutine, so that the namespace cannot leak into other work.
func inNamespace(path string, f func()) error {
	if path == "" {
		f()
		return nil
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked
		err := enterNamespace(path)
		if err == nil {
			f()
		}
		done <- err
	}()
	return <-done
}

func enterNamespace(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	defer f.Close()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace %s: %w", path, err)
	}
	return nil
}
