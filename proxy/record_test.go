package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/upstream"
)

type panicFilter struct{}

func (panicFilter) Request(*proxy.Exchange) *proxy.Reply { panic("a bug in a filter") }

// TestEveryExitIsRecordedOnce plays downstreams, rules and upstreams of all sorts
// against each other: however an exchange ends, there is one record of it, and no
// flag that is not one of the known ends.
func TestEveryExitIsRecordedOnce(t *testing.T) {
	t.Parallel()
	upstreams := map[string]func(int, net.Conn, *bufio.Reader){
		"answers":        answer(hello),
		"closes at once": func(int, net.Conn, *bufio.Reader) {},
		"closes on head": func(_ int, _ net.Conn, r *bufio.Reader) { _, _ = http.ReadRequest(r) },
		"talks nonsense": answer("nonsense\r\n\r\n"),
		"breaks its body": func(_ int, c net.Conn, r *bufio.Reader) {
			_, _ = http.ReadRequest(r)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab")
		},
		"breaks a chunk": func(_ int, c net.Conn, r *bufio.Reader) {
			_, _ = http.ReadRequest(r)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")
		},
		"is silent": func(_ int, _ net.Conn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) },
		"answers early": func(_ int, c net.Conn, r *bufio.Reader) {
			_, _ = r.ReadString('\n')
			_, _ = io.WriteString(c, "HTTP/1.1 413 No\r\ncontent-length: 0\r\n\r\n")
		},
	}
	downstreams := map[string]func(c net.Conn){
		"reads": func(c net.Conn) {
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
			_, _ = io.Copy(io.Discard, c)
		},
		"posts": func(c net.Conn) {
			_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc")
			_, _ = io.Copy(io.Discard, c)
		},
		"leaves": func(c net.Conn) { _, _ = io.WriteString(c, "GET / HTTP/1.1\r\nhost: a\r\n\r\n") },
		"leaves in body": func(c net.Conn) {
			_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc")
		},
		"breaks a chunk": func(c net.Conn) {
			_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n")
			_, _ = io.Copy(io.Discard, c)
		},
		"breaks a head": func(c net.Conn) {
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nhost: a\r\n: x\r\n\r\n")
			_, _ = io.Copy(io.Discard, c)
		},
		"resets": func(c net.Conn) {
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nhost: a\r\n\r\n")
			_ = c.(*net.TCPConn).SetLinger(0)
		},
	}
	rulesOf := map[string]func(c *upstream.Cluster) *proxy.Rule{
		"plain": to,
		"retries": func(c *upstream.Cluster) *proxy.Rule {
			r := to(c)
			r.Retry = &proxy.Retry{On: proxy.RetryOn5xx, Max: 2, BackoffBase: 1}
			return r
		},
		"timeout": func(c *upstream.Cluster) *proxy.Rule { r := to(c); r.Timeout = 20 * time.Millisecond; return r },
		"per try": func(c *upstream.Cluster) *proxy.Rule {
			r := to(c)
			r.Retry = &proxy.Retry{On: proxy.RetryOnReset, Max: 1, PerTry: 10 * time.Millisecond, BackoffBase: 1}
			return r
		},
		"panics": to,
		"none":   func(*upstream.Cluster) *proxy.Rule { return nil },
	}
	for up, play := range upstreams {
		for down, act := range downstreams {
			for rule, make := range rulesOf {
				t.Run(fmt.Sprintf("upstream %s, downstream %s, rule %s", up, down, rule), func(t *testing.T) {
					t.Parallel()
					spec := proxy.HTTPSpec{}
					if rule == "panics" {
						spec.Filters = []proxy.Installed{{Filter: panicFilter{}}}
					}
					g := httpRig(t, spec, make(cluster(t, nil, script(t, play))))
					patient := down == "reads" || down == "posts"
					if up == "is silent" && patient && rule != "timeout" && rule != "per try" && rule != "panics" && rule != "none" {
						t.Skip("both wait, as they may")
					}
					c := g.dial()
					act(c)
					if rand.IntN(2) == 0 {
						_ = c.Close()
					} else {
						time.AfterFunc(5*time.Millisecond, func() { _ = c.Close() })
					}
					r := g.records.next(t)
					g.listeners.Close() // joins everything that could still record
					if n := g.records.count(); n != 1 {
						t.Errorf("%d records", n)
					}
					if r.Response.Status == 0 && r.flags == "-" && rule != "panics" {
						t.Errorf("no response and no flag: %+v", r.Record)
					}
				})
			}
		}
	}
}
