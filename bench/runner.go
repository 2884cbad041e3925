package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/bench/echo"
	"github.com/outrigger-mesh/outrigger/bench/feed"
	"github.com/outrigger-mesh/outrigger/bench/load"
	"github.com/outrigger-mesh/outrigger/bench/peers"
	"github.com/outrigger-mesh/outrigger/bench/report"
)

// threads is how many processors every proxy may use.
const threads = 2

// caseWait bounds a case; all the services cases count as one.
const caseWait = 30 * time.Minute

var (
	// ErrIncomplete says that something could not be measured.
	ErrIncomplete = errors.New("not everything could be measured")
	errNothing    = errors.New("no case has a subject that is wanted and installed")
)

// runner is one run of the benchmark. It is owned by one goroutine.
type runner struct {
	Options

	env     *peers.Env
	kinds   []peers.Kind
	backend map[echo.Kind]netip.AddrPort
	caller  *tls.Config // with which the load generator speaks mutual TLS
	figures report.Collector
	notes   []string
	failed  bool
	nodes   int  // names given so far
	policy  bool // the product takes the ALLOW policy

	servicesTaken bool
	ratesTaken    bool
	curves        map[curveKey]*load.Histogram
}

// Run measures, shows and writes.
func Run(ctx context.Context, o Options) error {
	if o.From != "" {
		return show(&o)
	}
	r := &runner{Options: o, policy: true, curves: make(map[curveKey]*load.Histogram)}
	doc, err := r.run(ctx)
	if doc == nil {
		return err
	}
	return errors.Join(err, publish(&o, doc))
}

func (r *runner) run(ctx context.Context) (doc *report.Document, err error) {
	dir, err := os.MkdirTemp("", "outrigger-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	closeAll, err := r.setUp(ctx, dir)
	if err != nil {
		return nil, errors.Join(err, closeAll())
	}
	defer func() { err = errors.Join(err, closeAll()) }()
	r.nameMissing()
	before := busy()
	started := time.Now()
	any := false
	for _, c := range table() {
		if !wanted(r.Cases, c.name) || ctx.Err() != nil {
			continue
		}
		if len(r.subjectsOf(c)) == 0 {
			continue
		}
		any = true
		r.oneCase(ctx, c)
	}
	if !any {
		return nil, errNothing
	}
	r.note(false, "load of the machine over a minute: %s before, %s after; the run took %v",
		before, busy(), time.Since(started).Round(time.Second))
	doc = r.document(ctx)
	if ctx.Err() != nil {
		return doc, fmt.Errorf("interrupted: %w", context.Cause(ctx))
	}
	if r.failed {
		err = ErrIncomplete
	}
	return doc, err
}

// setUp starts what all cases share; the function that it returns ends it.
func (r *runner) setUp(ctx context.Context, dir string) (closeAll func() error, err error) {
	var closers []func() error
	closeAll = func() error {
		var errs []error
		for _, c := range slices.Backward(closers) {
			errs = append(errs, c())
		}
		return errors.Join(errs...)
	}
	if err := moreFiles(); err != nil {
		return closeAll, fmt.Errorf("limit of open files: %w", err)
	}
	f, err := feed.New(ctx, dir)
	if err != nil {
		return closeAll, fmt.Errorf("control plane: %w", err)
	}
	closers = append(closers, f.Close)
	l := peers.NewLauncher(dir)
	closers = append(closers, l.Close)
	r.env = &peers.Env{Dir: dir, Feed: f, Launcher: l, Ports: new(peers.Ports), Threads: threads}
	closeBackend, err := r.startBackend(ctx)
	if err != nil {
		return closeAll, fmt.Errorf("backend: %w", err)
	}
	closers = append(closers, closeBackend)
	if r.caller, err = callerTLS(f); err != nil {
		return closeAll, err
	}
	r.kinds = r.found()
	if r.Profiles != "" {
		return closeAll, os.MkdirAll(r.Profiles, 0o750)
	}
	return closeAll, nil
}

// startBackend gives each kind of server a port that no connection can sit on.
func (r *runner) startBackend(ctx context.Context) (closeIt func() error, err error) {
	ports := make(map[echo.Kind]uint16)
	for _, k := range []echo.Kind{echo.HTTP1, echo.HTTP2, echo.GRPC, echo.TCP, echo.Sink, echo.Source} {
		port, err := r.env.Ports.Free(ctx)
		if err != nil {
			return nil, err
		}
		ports[k] = uint16(port) //nolint:gosec // a port
	}
	c := echo.Config{Ports: ports, Size: answerSize}
	if len(r.Backend) > 0 {
		p, err := echo.Spawn(ctx, c, r.Backend[0], r.Backend[1:]...)
		if err != nil {
			return nil, err
		}
		r.backend = p.Addrs
		return p.Close, nil
	}
	s, err := echo.Start(ctx, c)
	if err != nil {
		return nil, err
	}
	r.backend = make(map[echo.Kind]netip.AddrPort)
	for k := range ports {
		r.backend[k] = s.Addr(k)
	}
	return func() error { s.Close(); return nil }, nil
}

// callerTLS is a client of the mesh. Whose certificate the proxy has is not the
// generator's business.
func callerTLS(f *feed.Server) (*tls.Config, error) {
	pair, err := f.Issue(feed.Outbound)
	if err != nil {
		return nil, err
	}
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, ServerName: feed.Host,
		InsecureSkipVerify: true, //nolint:gosec // loopback, and made for this run
		NextProtos:         []string{"istio-http/1.1", "istio", "http/1.1"},
	}, nil
}

// found are the proxies that are there.
func (r *runner) found() []peers.Kind {
	p := &r.Programs
	kinds := []peers.Kind{&peers.Outrigger{Program: p.Outrigger, Build: r.Build, Profiles: r.Profiles}}
	if p.Envoy != "" {
		kinds = append(kinds, &peers.Envoy{Program: p.Envoy})
	}
	if p.HAProxy != "" {
		kinds = append(kinds, &peers.HAProxy{Program: p.HAProxy})
	}
	if p.Nginx != "" {
		kinds = append(kinds, &peers.Nginx{Program: p.Nginx})
	}
	return kinds
}

// subjectsOf are those of a case that are wanted and installed.
func (r *runner) subjectsOf(c *benchCase) []string {
	var out []string
	for _, s := range subjects {
		there := s == report.Direct || slices.ContainsFunc(r.kinds, func(k peers.Kind) bool { return k.Name() == s })
		if there && slices.Contains(c.subjects, s) && wanted(r.Subjects, s) {
			out = append(out, s)
		}
	}
	return out
}

func (r *runner) kind(subject string) peers.Kind {
	for _, k := range r.kinds {
		if k.Name() == subject {
			return k
		}
	}
	return nil
}

// oneCase takes a case; what goes wrong becomes a note.
func (r *runner) oneCase(all context.Context, c *benchCase) {
	r.say("%s: %s", c.name, c.about)
	ctx, cancel := context.WithTimeoutCause(all, caseWait, fmt.Errorf("the case took longer than %v", caseWait))
	defer cancel()
	if err := c.run(ctx, r, c); err != nil && all.Err() == nil {
		r.note(true, "%s: %v", c.name, err)
	}
}

func (r *runner) say(format string, args ...any) {
	fmt.Fprintf(r.Progress, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

// note is said at once and again at the end; with failed the run fails in the end.
func (r *runner) note(failed bool, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.say("%s", text)
	if !slices.Contains(r.notes, text) {
		r.notes = append(r.notes, text)
	}
	r.failed = r.failed || failed
}

// nameMissing says which proxies cannot be compared with, and how to get them.
func (r *runner) nameMissing() {
	for _, peer := range []struct{ subject, path, how string }{
		{report.Envoy, r.Programs.Envoy, "Envoy is not here, so nothing is compared with it: name one with -envoy or OUTRIGGER_ENVOY (make bench gets one)"},
		{report.HAProxy, r.Programs.HAProxy, "HAProxy is not installed, so nothing is compared with it"},
		{report.Nginx, r.Programs.Nginx, "nginx is not installed, so nothing is compared with it"},
	} {
		if peer.path == "" && wanted(r.Subjects, peer.subject) {
			r.note(false, "%s", peer.how)
		}
	}
}

// document is what was found so far.
func (r *runner) document(ctx context.Context) *report.Document {
	doc := &report.Document{
		Machine: machine(), Commit: r.Build, Rows: r.figures.Rows(), Title: "What a sidecar costs",
		Taken: time.Now().UTC().Format("2006-01-02 15:04 MST"), Cases: make(map[string]string), Notes: r.notes, Curves: r.drawn(),
	}
	for _, c := range table() {
		doc.Cases[c.name] = c.about
	}
	for _, k := range r.kinds {
		if !wanted(r.Subjects, k.Name()) {
			continue
		}
		version := k.Version(context.WithoutCancel(ctx))
		doc.Versions = append(doc.Versions, report.Version{Name: k.Name(), Version: version})
		if k.Name() != report.Outrigger {
			doc.Machine += ", " + k.Name() + " " + strings.TrimSpace(version)
		}
	}
	return doc
}
