package testmesh

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh/echo"
	"github.com/outrigger-mesh/outrigger/internal/testmesh/launch"
)

// Dial connects from inside the pod; names are those of the mesh's hosts file.
// The socket belongs to root, which the capture rules treat like any user other
// than the sidecar's: the connection is captured as the application's would be.
func (p *Pod) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	addrs, err := p.Lookup(host)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, a := range addrs {
		if strings.HasSuffix(network, "4") && !a.Is4() || strings.HasSuffix(network, "6") && a.Is4() {
			continue
		}
		c, err := p.ns.Dial(ctx, network, net.JoinHostPort(a.String(), port))
		if err == nil {
			return c, nil
		}
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		return nil, fmt.Errorf("%s has no address for %s", host, network)
	}
	return nil, errors.Join(errs...)
}

// Lookup returns the addresses of a name as the pod knows them.
func (p *Pod) Lookup(host string) ([]netip.Addr, error) {
	return p.mesh.folder.table(p.of.Namespace).lookup(host)
}

// Listen listens inside the pod on a literal address and port.
func (p *Pod) Listen(ctx context.Context, network, addr string) (net.Listener, error) {
	return p.ns.Listen(ctx, network, addr)
}

// requestTimeout bounds every request of HTTPClient.
const requestTimeout = 30 * time.Second

func (p *Pod) newClient() *http.Client {
	return &http.Client{
		Timeout: requestTimeout,
		Transport: &http.Transport{
			DialContext: p.Dial, MaxIdleConnsPerHost: 256, IdleConnTimeout: time.Minute, DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// HTTPClient returns the pod's client: it dials by Dial, keeps connections and
// follows no redirects.
func (p *Pod) HTTPClient() *http.Client { return p.client }

// Reply is what a request from a pod came to: either Err or the rest.
type Reply struct {
	Err     error
	Status  int
	Proto   string
	Header  http.Header
	Body    []byte
	Echo    *echo.Reply // what the application saw; nil if the reply is not its own
	Elapsed time.Duration
}

// String tells the reply in a line.
func (r *Reply) String() string {
	switch {
	case r.Err != nil:
		return "error: " + r.Err.Error()
	case r.Echo != nil:
		return fmt.Sprintf("%d from %s %s", r.Status, r.Echo.Pod, r.Echo.Version)
	}
	return fmt.Sprintf("%d %.200q", r.Status, r.Body)
}

// Get fetches a URL from inside the pod.
func (p *Pod) Get(url string) *Reply {
	req, err := http.NewRequest(http.MethodGet, url, nil) //nolint:noctx // bounded by the client's timeout
	if err != nil {
		return &Reply{Err: err}
	}
	return p.Do(req)
}

// Do sends a request from inside the pod and reads the response to its end.
func (p *Pod) Do(req *http.Request) *Reply {
	began := time.Now()
	resp, err := p.client.Do(req)
	if err != nil {
		return &Reply{Err: err, Elapsed: time.Since(began)}
	}
	body, err := io.ReadAll(resp.Body)
	r := &Reply{
		Status: resp.StatusCode, Proto: resp.Proto, Header: resp.Header, Body: body,
		Err: errors.Join(err, resp.Body.Close()), Elapsed: time.Since(began),
	}
	if e := new(echo.Reply); resp.Header.Get("Content-Type") == "application/json" && json.Unmarshal(body, e) == nil && e.Pod != "" {
		r.Echo = e
	}
	return r
}

// Admin fetches a path of the sidecar's admin port from inside the pod.
func (p *Pod) Admin(path string) *Reply { return p.Get("http://127.0.0.1:15000" + path) }

// Stats returns the sidecar's /stats by name.
func (p *Pod) Stats() (map[string]string, error) {
	r := p.Admin("/stats")
	if r.Err != nil || r.Status != http.StatusOK {
		return nil, fmt.Errorf("stats of %s: %v", p.of.Name, r)
	}
	stats := map[string]string{}
	for line := range strings.Lines(string(r.Body)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
			stats[name] = value
		}
	}
	return stats, nil
}

// Metrics returns the sidecar's Prometheus text, scraped from outside of the pod.
func (p *Pod) Metrics(ctx context.Context) ([]byte, error) {
	return p.mesh.control.get(ctx, "http://"+net.JoinHostPort(p.of.Address.String(), "15090")+"/stats/prometheus")
}

// Exec runs one of the host's programs in the pod's network namespace, with the
// pod's names, under a uid, and returns what it wrote to stdout.
func (p *Pod) Exec(ctx context.Context, uid int, argv ...string) (string, error) {
	if len(argv) == 0 {
		return "", errors.New("no program given")
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return "", err
	}
	var stdout, stderr bytes.Buffer
	err = p.mesh.starter.Run(ctx, &launch.Spec{
		NetNS: p.ns.Path(), Mounts: p.nameFiles(), UID: uid, GID: uid, All: true,
		Argv: append([]string{path}, argv[1:]...), Env: []string{"PATH=" + os.Getenv("PATH")},
	}, &stdout, &stderr)
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), err
}
