package resolve_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/outrigger-mesh/outrigger/resolve"
)

// nameServer answers on loopback by UDP and TCP.
type nameServer struct {
	port string

	mu      sync.Mutex
	answers map[string]func(q, a *dns.Msg, network string) // guarded by mu; by "name type"
	asked   map[string]int                                 // guarded by mu
}

func serve(t *testing.T) *nameServer {
	t.Helper()
	s := &nameServer{answers: make(map[string]func(q, a *dns.Msg, network string)), asked: make(map[string]int)}
	var udp net.PacketConn
	var tcp net.Listener
	for range 20 { // a port that is free for both
		var err error
		if tcp, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if udp, err = net.ListenPacket("udp", tcp.Addr().String()); err == nil {
			break
		}
		tcp.Close()
	}
	if udp == nil {
		t.Fatal("no port is free")
	}
	s.port = strconv.Itoa(tcp.Addr().(*net.TCPAddr).Port)
	for network, server := range map[string]*dns.Server{"udp": {PacketConn: udp}, "tcp": {Listener: tcp}} {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		server.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) { s.handle(w, q, network) })
		go func() { _ = server.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = server.Shutdown() })
	}
	return s
}

func (s *nameServer) handle(w dns.ResponseWriter, q *dns.Msg, network string) {
	key := q.Question[0].Name + " " + dns.TypeToString[q.Question[0].Qtype]
	s.mu.Lock()
	answer := s.answers[key]
	s.asked[key+" "+network]++
	s.mu.Unlock()
	a := new(dns.Msg).SetReply(q)
	if answer == nil {
		a.Rcode = dns.RcodeNameError
	} else if answer(q, a, network); a.Id == 0 {
		return // no answer
	}
	_ = w.WriteMsg(a)
}

// set defines what is answered: an rcode, records, or silence.
func (s *nameServer) set(key string, answer any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[key] = func(_, a *dns.Msg, _ string) {
		switch v := answer.(type) {
		case int:
			a.Rcode = v
		case []string:
			for _, text := range v {
				rr, err := dns.NewRR(text)
				if err != nil {
					panic(err)
				}
				a.Answer = append(a.Answer, rr)
			}
		case func(a *dns.Msg):
			v(a)
		default:
			a.Id = 0
		}
	}
}

func (s *nameServer) count(key string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[key]
}

// resolver makes one that asks the servers by a resolv.conf of its own.
func (s *nameServer) resolver(t *testing.T, conf, hosts string) *resolve.Resolver {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return resolve.New(resolve.Options{Conf: write("resolv.conf", conf), Hosts: write("hosts", hosts), Port: s.port})
}

const here = "nameserver 127.0.0.1\n"

func text(addrs []netip.Addr) string {
	var out []string
	for _, a := range addrs {
		out = append(out, a.String())
	}
	return strings.Join(out, " ")
}

func TestLookup(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.set("both.example. A", []string{"both.example. 30 A 192.0.2.1", "both.example. 20 A 192.0.2.2"})
	s.set("both.example. AAAA", []string{"both.example. 10 AAAA 2001:db8::1"})
	s.set("four.example. A", []string{"four.example. 30 A 192.0.2.4"})
	s.set("four.example. AAAA", 0)
	s.set("alias.example. A", []string{"alias.example. 5 CNAME four.example.", "four.example. 30 A 192.0.2.4", "other.example. 1 A 192.0.2.66"})
	s.set("half.example. A", dns.RcodeServerFailure)
	s.set("half.example. AAAA", 0)
	s.set("api.shop.svc. A", []string{"api.shop.svc. 7 A 192.0.2.7"})
	s.set("zero.example. A", []string{"zero.example. 30 A 192.0.2.8", "zero.example. 0 A 192.0.2.9"})
	r := s.resolver(t, here+"search none.svc shop.svc\noptions ndots:2\n", "192.0.2.99 Pinned.example pin # comment\n2001:db8::99 pinned.example\nnonsense\n")

	for name, c := range map[string]struct {
		host   string
		family resolve.Family
		want   string
		ttl    time.Duration
		fails  error
	}{
		"addresses of one family":                 {"both.example", resolve.V4Only, "192.0.2.1 192.0.2.2", 20 * time.Second, nil},
		"all addresses, the shortest time":        {"both.example", resolve.All, "2001:db8::1 192.0.2.1 192.0.2.2", 10 * time.Second, nil},
		"the preferred family":                    {"both.example", resolve.V6Preferred, "2001:db8::1", 10 * time.Second, nil},
		"the other family where one has none":     {"four.example", resolve.V6Preferred, "192.0.2.4", 30 * time.Second, nil},
		"no address of the only family":           {"four.example", resolve.V6Only, "", 0, resolve.ErrNoAddress},
		"an alias counts with its time":           {"alias.example", resolve.V4Only, "192.0.2.4", 5 * time.Second, nil},
		"a record that lives not at all":          {"zero.example", resolve.V4Only, "192.0.2.8 192.0.2.9", 0, nil},
		"a name that does not exist":              {"nobody.example", resolve.All, "", 0, resolve.ErrNoAddress},
		"a failure is no answer":                  {"half.example", resolve.All, "", 0, nil},
		"the search list for names with few dots": {"api", resolve.V4Only, "192.0.2.7", 7 * time.Second, nil},
		"no search list for full names":           {"api.", resolve.V4Only, "", 0, resolve.ErrNoAddress},
		"the hosts file comes first":              {"PINNED.example", resolve.V4Only, "192.0.2.99", 0, nil},
		"the hosts file has both families":        {"pinned.example", resolve.All, "2001:db8::99 192.0.2.99", 0, nil},
		"an address is itself":                    {"192.0.2.200", resolve.V4Only, "192.0.2.200", 0, nil},
		"an address of the other family":          {"192.0.2.200", resolve.V6Only, "", 0, resolve.ErrNoAddress},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := r.Lookup(t.Context(), c.host, c.family)
			if text(got.Addrs) != c.want || got.TTL != c.ttl {
				t.Errorf("got %v, want %s for %s (%v)", got, c.want, c.ttl, err)
			}
			if c.want == "" && (err == nil || c.fails != nil != errors.Is(err, resolve.ErrNoAddress)) {
				t.Errorf("error %v, want %v", err, c.fails)
			}
		})
	}
}

func TestTruncatedAnswersAreFetchedByTCP(t *testing.T) {
	t.Parallel()
	s := serve(t)
	var records []string
	for i := range 100 {
		records = append(records, "big.example. 30 A 192.0.2."+strconv.Itoa(i))
	}
	s.mu.Lock()
	s.answers["big.example. A"] = func(_, a *dns.Msg, network string) {
		if network == "udp" {
			a.Truncated = true
			return
		}
		for _, text := range records {
			rr, _ := dns.NewRR(text)
			a.Answer = append(a.Answer, rr)
		}
	}
	s.mu.Unlock()
	got, err := s.resolver(t, here, "").Lookup(t.Context(), "big.example", resolve.V4Only)
	if err != nil || len(got.Addrs) != 100 {
		t.Errorf("got %d addresses, %v", len(got.Addrs), err)
	}
}

func TestTheNextServerIsAskedWhenOneFails(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.set("shop.example. A", []string{"shop.example. 30 A 192.0.2.1"})
	// Nothing listens on 127.0.0.2 at that port.
	got, err := s.resolver(t, "nameserver 127.0.0.2\n"+here, "").Lookup(t.Context(), "shop.example", resolve.V4Only)
	if err != nil || text(got.Addrs) != "192.0.2.1" {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestAnswersToOtherQuestionsAreNotTaken(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.set("shop.example. A", func(a *dns.Msg) {
		a.Question[0].Name = "evil.example."
		rr, _ := dns.NewRR("evil.example. 30 A 192.0.2.66")
		a.Answer = append(a.Answer, rr)
	})
	got, err := s.resolver(t, here, "").Lookup(t.Context(), "shop.example", resolve.V4Only)
	if err == nil || errors.Is(err, resolve.ErrNoAddress) {
		t.Errorf("got %v, %v; want a failure", got, err)
	}
}

func TestServersWithoutEDNSAreAskedWithout(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.mu.Lock()
	s.answers["old.example. A"] = func(q, a *dns.Msg, _ string) {
		if q.IsEdns0() != nil {
			a.Rcode = dns.RcodeFormatError
			return
		}
		rr, _ := dns.NewRR("old.example. 30 A 192.0.2.1")
		a.Answer = append(a.Answer, rr)
	}
	s.mu.Unlock()
	if got, err := s.resolver(t, here, "").Lookup(t.Context(), "old.example", resolve.V4Only); err != nil || text(got.Addrs) != "192.0.2.1" {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestFilesAreReadAgainWhenTheyChange(t *testing.T) {
	t.Parallel()
	hosts := filepath.Join(t.TempDir(), "hosts")
	write := func(text string) {
		if err := os.WriteFile(hosts, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("192.0.2.1 shop\n")
	r := resolve.New(resolve.Options{Conf: "/nonexistent", Hosts: hosts, Port: "1"})
	look := func() string {
		got, _ := r.Lookup(t.Context(), "shop", resolve.V4Only)
		return text(got.Addrs)
	}
	if got := look(); got != "192.0.2.1" {
		t.Fatalf("got %s", got)
	}
	write("192.0.2.22 shop\n")
	until(t, "the new address", func() bool { return look() == "192.0.2.22" })
}

// until polls until what is awaited is there.
func until(t *testing.T, what string, there func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !there(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not come", what)
		}
	}
}

// follow starts a watch, and gives each answer that is told.
func follow(t *testing.T, r *resolve.Resolver, s resolve.Schedule, names ...string) (*resolve.Watch, func() string) {
	t.Helper()
	told := make(chan string, 64)
	w := r.Watch(names, s, func(w *resolve.Watch) {
		var all []string
		for _, name := range names {
			all = append(all, text(w.Addrs(name)))
		}
		told <- strings.Join(all, "|")
	})
	t.Cleanup(r.Close)
	return w, func() string {
		t.Helper()
		select {
		case got := <-told:
			return got
		case <-time.After(20 * time.Second):
			t.Fatal("nothing was told")
			return ""
		}
	}
}

func TestAWatchTellsOnlyNews(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.set("a.example. A", []string{"a.example. 1 A 192.0.2.1", "a.example. 1 A 192.0.2.2"})
	s.set("b.example. A", []string{"b.example. 1 A 192.0.2.3"})
	w, next := follow(t, s.resolver(t, here, ""), resolve.Schedule{Family: resolve.V4Only, Refresh: time.Hour, RespectTTL: true}, "a.example", "b.example")
	if got := next(); got != "192.0.2.1 192.0.2.2|192.0.2.3" || !w.Settled() {
		t.Errorf("first %s", got)
	}
	s.set("a.example. A", []string{"a.example. 1 A 192.0.2.2", "a.example. 1 A 192.0.2.1"}) // only the order
	asked := s.count("a.example. A udp")
	until(t, "another look", func() bool { return s.count("a.example. A udp") > asked+1 })
	s.set("a.example. A", dns.RcodeServerFailure) // the last answer stands
	s.set("b.example. A", []string{"b.example. 1 A 192.0.2.4"})
	if got := next(); got != "192.0.2.1 192.0.2.2|192.0.2.4" {
		t.Errorf("then %s", got)
	}
	s.set("b.example. A", dns.RcodeNameError) // an answer: there is none
	if got := next(); got != "192.0.2.1 192.0.2.2|" {
		t.Errorf("at the end %s", got)
	}
	if left := w.Addrs("b.example"); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}

func TestAWatchByTheFirstAddressKeepsItWhenThereIsNone(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.set("a.example. A", []string{"a.example. 1 A 192.0.2.1", "a.example. 1 A 192.0.2.2"})
	w, next := follow(t, s.resolver(t, here, ""), resolve.Schedule{Family: resolve.V4Only, RespectTTL: true, First: true}, "a.example")
	if got := next(); got != "192.0.2.1 192.0.2.2" {
		t.Errorf("first %s", got)
	}
	s.set("a.example. A", []string{"a.example. 1 A 192.0.2.2", "a.example. 1 A 192.0.2.1"})
	if got := next(); got != "192.0.2.2 192.0.2.1" {
		t.Errorf("in another order: %s", got)
	}
	s.set("a.example. A", dns.RcodeNameError)
	asked := s.count("a.example. A udp")
	until(t, "another look", func() bool { return s.count("a.example. A udp") > asked+1 })
	if got := text(w.Addrs("a.example")); got != "192.0.2.2 192.0.2.1" {
		t.Errorf("then %s", got)
	}
}

func TestAWatchSettlesWhenNobodyAnswers(t *testing.T) {
	t.Parallel()
	s := serve(t)
	w, next := follow(t, s.resolver(t, "nameserver 127.0.0.2\n", ""), resolve.Schedule{Family: resolve.All}, "a.example")
	if got := next(); got != "" || !w.Settled() {
		t.Errorf("told %q", got)
	}
}
