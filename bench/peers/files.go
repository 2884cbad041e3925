package peers

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/bench/feed"
	"github.com/outrigger-mesh/outrigger/bench/report"
)

// maxConnections is what HAProxy and nginx make room for.
const maxConnections = 9000

// output is what a program prints when it is asked for its version.
func output(ctx context.Context, program string, args ...string) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput() //nolint:gosec // a proxy that was found
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// certificates writes the files with which a proxy without a control plane speaks
// mutual TLS.
func certificates(e *Env, n *Node, dir string) (map[string]string, error) {
	pair, err := e.Feed.Issue(n.Role)
	if err != nil {
		return nil, err
	}
	return writeFiles(dir, map[string][]byte{
		"both.pem": append(append([]byte(nil), pair.Cert...), pair.Key...), "cert.pem": pair.Cert, "key.pem": pair.Key, "root.pem": e.Feed.Root(),
	})
}

// HAProxy is a plain reverse proxy: no rules, no log, keep-alive on both sides.
type HAProxy struct{ Program string }

// Name is the subject's.
func (*HAProxy) Name() string { return report.HAProxy }

// Version is what it says.
func (p *HAProxy) Version(ctx context.Context) string {
	if f := strings.Fields(output(ctx, p.Program, "-v")); len(f) > 2 {
		return f[2]
	}
	return "unknown"
}

// Supports refuses what needs a control plane.
func (*HAProxy) Supports(h feed.Hop) error { return withoutServices(h) }

func withoutServices(h feed.Hop) error {
	if h.Services > 0 {
		return fmt.Errorf("services from a control plane: %w", ErrUnsupported)
	}
	return nil
}

func (p *HAProxy) command(_ context.Context, e *Env, n *Node, dir string) (Command, error) {
	files, err := certificates(e, n, dir)
	if err != nil {
		return Command{}, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "global\n  nbthread %d\n  maxconn %d\ndefaults\n  timeout connect 10s\n  timeout client 1h\n  timeout server 1h\n", e.Threads, maxConnections)
	for _, h := range n.Hops {
		mode, alpn, proto := "http", "http/1.1", ""
		switch h.Protocol {
		case feed.HTTP2:
			alpn, proto = "h2", " proto h2"
		case feed.TCP:
			mode, alpn = "tcp", "istio"
		case feed.HTTP1:
		}
		bind, server := proto, proto
		if h.TLS && h.Role == feed.Inbound {
			bind = fmt.Sprintf(" ssl crt %s ca-file %s verify required alpn %s", files["both.pem"], files["root.pem"], alpn)
		}
		if h.TLS && h.Role == feed.Outbound {
			server = fmt.Sprintf(" ssl crt %s ca-file %s verify required verifyhost %s sni str(%s) alpn %s",
				files["both.pem"], files["root.pem"], feed.Host, feed.Host, alpn)
		}
		fmt.Fprintf(&b, "listen hop%d\n  mode %s\n  bind %s%s\n  server one %s%s\n", h.Listen, mode, Addr(h.Listen), bind, Addr(h.Upstream), server)
	}
	conf, err := writeFiles(dir, map[string][]byte{"haproxy.cfg": []byte(b.String())})
	return Command{Path: p.Program, Args: []string{"-db", "-f", conf["haproxy.cfg"]}, Dir: dir}, err
}

// Nginx is a plain reverse proxy: no rules, no log, keep-alive on both sides.
type Nginx struct{ Program string }

// Name is the subject's.
func (*Nginx) Name() string { return report.Nginx }

// Version is what it says.
func (p *Nginx) Version(ctx context.Context) string {
	_, v, _ := strings.Cut(output(ctx, p.Program, "-v"), "nginx/")
	return v
}

// Supports refuses what nginx has no module for everywhere.
func (*Nginx) Supports(h feed.Hop) error {
	if h.Protocol == feed.TCP {
		return fmt.Errorf("TCP: %w", ErrUnsupported)
	}
	return withoutServices(h)
}

func (p *Nginx) command(_ context.Context, e *Env, n *Node, dir string) (Command, error) {
	files, err := certificates(e, n, dir)
	if err != nil {
		return Command{}, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "daemon off;\nworker_processes %d;\npid %s/nginx.pid;\nerror_log stderr;\nworker_rlimit_nofile %d;\n"+
		"events { worker_connections %d; }\nhttp {\n  access_log off;\n  keepalive_requests 1000000000;\n  keepalive_timeout 1h;\n"+
		"  http2_max_concurrent_streams 1024;\n", e.Threads, dir, 2*maxConnections, maxConnections)
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&b, "  %s_temp_path %s;\n", kind, dir)
	}
	for i, h := range n.Hops {
		b.WriteString(nginxHop(i, h, files))
	}
	b.WriteString("}\n")
	conf, err := writeFiles(dir, map[string][]byte{"nginx.conf": []byte(b.String())})
	return Command{Path: p.Program, Args: []string{"-e", "stderr", "-c", conf["nginx.conf"]}, Dir: dir}, err
}

func nginxHop(i int, h feed.Hop, files map[string]string) string {
	var b strings.Builder
	module, scheme, listen := "proxy", "http", ""
	if h.Protocol == feed.HTTP2 { // nginx speaks HTTP/2 to upstreams only as gRPC
		module, scheme, listen = "grpc", "grpc", " http2"
	}
	if h.TLS && h.Role == feed.Inbound {
		listen = " ssl" + listen
	}
	fmt.Fprintf(&b, "  upstream up%d { server %s; keepalive 256; keepalive_requests 1000000000; }\n  server {\n    listen %s%s;\n", i, Addr(h.Upstream), Addr(h.Listen), listen)
	if h.TLS && h.Role == feed.Inbound {
		fmt.Fprintf(&b, "    ssl_certificate %s;\n    ssl_certificate_key %s;\n    ssl_client_certificate %s;\n    ssl_verify_client on;\n"+
			"    ssl_protocols TLSv1.2 TLSv1.3;\n    ssl_session_cache shared:s%d:10m;\n", files["cert.pem"], files["key.pem"], files["root.pem"], i)
	}
	b.WriteString("    location / {\n")
	if h.TLS && h.Role == feed.Outbound {
		scheme += "s"
		for _, line := range []string{
			"ssl_certificate " + files["cert.pem"], "ssl_certificate_key " + files["key.pem"], "ssl_trusted_certificate " + files["root.pem"],
			"ssl_verify on", "ssl_name " + feed.Host, "ssl_server_name on", "ssl_protocols TLSv1.2 TLSv1.3",
		} {
			fmt.Fprintf(&b, "      %s_%s;\n", module, line)
		}
	}
	if module == "proxy" {
		b.WriteString("      proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n      proxy_set_header Host $host;\n")
	}
	fmt.Fprintf(&b, "      %s_pass %s://up%d;\n    }\n  }\n", module, scheme, i)
	return b.String()
}
