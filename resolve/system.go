package resolve

import (
	"bufio"
	"io"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// lookAgain is how long the system's files are trusted without a look at them.
const lookAgain = time.Second

// system is what the files of the system say, read again when they change.
type system struct {
	// immutable
	conf, hosts string // paths
	port        string

	mu sync.Mutex
	// guarded by mu
	looked time.Time
	seen   [2]os.FileInfo // nil for a file that is not there
	now    settings
}

// settings are the contents of both files. They are immutable.
type settings struct {
	dns   *dns.ClientConfig
	hosts map[string][]netip.Addr
}

func (s *system) settings() settings {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now.dns != nil && time.Since(s.looked) < lookAgain {
		return s.now
	}
	s.looked = time.Now()
	seen := [2]os.FileInfo{stateOf(s.conf), stateOf(s.hosts)}
	if s.now.dns != nil && unchanged(s.seen[0], seen[0]) && unchanged(s.seen[1], seen[1]) {
		return s.now
	}
	s.seen = seen
	s.now = settings{dns: readConf(s.conf), hosts: readHosts(s.hosts)}
	s.now.dns.Port = s.port
	return s.now
}

func stateOf(path string) os.FileInfo {
	info, err := os.Stat(path)
	if err != nil {
		return nil
	}
	return info
}

// unchanged reports whether a file is the same and was not written to.
func unchanged(before, now os.FileInfo) bool {
	if before == nil || now == nil {
		return before == nil && now == nil
	}
	return os.SameFile(before, now) && before.ModTime().Equal(now.ModTime()) && before.Size() == now.Size()
}

// readConf reads a resolv.conf. Without one, or without a name server in it, the
// name server is on this machine, as resolv.conf(5) says.
func readConf(path string) *dns.ClientConfig {
	conf, err := dns.ClientConfigFromFile(path)
	if err != nil {
		conf, _ = dns.ClientConfigFromReader(strings.NewReader("")) // reads no file: cannot fail
	}
	if len(conf.Servers) == 0 {
		conf.Servers = []string{"127.0.0.1"}
	}
	return conf
}

func readHosts(path string) map[string][]netip.Addr {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	return parseHosts(f)
}

// parseHosts reads a hosts file (hosts(5)): an address and its names on each line.
// Lines that are something else are skipped.
func parseHosts(r io.Reader) map[string][]netip.Addr {
	hosts := make(map[string][]netip.Addr)
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		text, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(text)
		if len(fields) < 2 {
			continue
		}
		addr, err := netip.ParseAddr(fields[0])
		if err != nil {
			continue
		}
		for _, name := range fields[1:] {
			name = hostKey(name)
			hosts[name] = append(hosts[name], addr.Unmap())
		}
	}
	return hosts
}

// hostKey is the form in which names are compared.
func hostKey(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
