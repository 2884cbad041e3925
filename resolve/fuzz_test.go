package resolve

import (
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func FuzzHosts(f *testing.F) {
	f.Add("127.0.0.1 localhost # comment\n::1 localhost\n")
	f.Add("192.0.2.1\nx y z\n\x00 \xff\n")
	f.Fuzz(func(t *testing.T, text string) {
		for name, addrs := range parseHosts(strings.NewReader(text)) {
			if len(addrs) == 0 || name != hostKey(name) {
				t.Errorf("%q has %v", name, addrs)
			}
		}
	})
}

func FuzzAnswer(f *testing.F) {
	m := new(dns.Msg).SetQuestion("a.example.", dns.TypeA)
	for _, text := range []string{"a.example. 5 CNAME b.example.", "b.example. 1 A 192.0.2.1", "b.example. 1 AAAA ::1"} {
		rr, err := dns.NewRR(text)
		if err != nil {
			f.Fatal(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	seed, err := m.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, b []byte) {
		var m dns.Msg
		if m.Unpack(b) != nil || len(m.Question) != 1 {
			return
		}
		got := read(&m, dns.TypeA)
		for _, a := range got.addrs {
			if !a.Is4() {
				t.Errorf("%s is not of the family", a)
			}
		}
		if got.err == nil && got.ttl < 0 {
			t.Errorf("time to live %s", got.ttl)
		}
	})
}
