package probes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// The waits of a local port. Requests are small; only a dump to a slow reader takes
// long.
const (
	headTimeout     = 5 * time.Second
	readTimeout     = 10 * time.Second
	writeTimeout    = 60 * time.Second
	idleTimeout     = 30 * time.Second
	shutdownTimeout = 2 * time.Second

	maxHead = 16 << 10
	maxConn = 512
)

// ServerConfig describes a local port.
type ServerConfig struct {
	// Name says in logs and errors what the port is for, such as "health".
	Name string
	// Addrs are the addresses to listen on: see AllAddrs.
	Addrs   []netip.AddrPort
	Handler http.Handler
	Logger  *slog.Logger
	// Hint says how else to choose the port, for the error where it is taken.
	Hint string
}

// Server serves one local port on all its addresses.
type Server struct {
	config    ServerConfig
	listeners []net.Listener
}

// AllAddrs is a port on every address of both families.
func AllAddrs(port uint16) []netip.AddrPort {
	return []netip.AddrPort{
		netip.AddrPortFrom(netip.IPv4Unspecified(), port),
		netip.AddrPortFrom(netip.IPv6Unspecified(), port),
	}
}

// Listen opens the port, so that a port that is taken is known before anything
// starts. A family that the system lacks is left out as long as another one works.
func Listen(ctx context.Context, c ServerConfig) (*Server, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{config: c}
	var absent error
	for _, a := range c.Addrs {
		l, err := listen(ctx, a)
		switch {
		case err == nil:
			s.listeners = append(s.listeners, evict(l, maxConn))
		case familyAbsent(err):
			absent = err
			c.Logger.Info("address family is not available", slog.String("port", c.Name), slog.String("address", a.String()))
		default:
			s.Close()
			return nil, s.explain(a, err)
		}
	}
	if len(s.listeners) == 0 {
		return nil, fmt.Errorf("listen on the %s port: %w", c.Name, errors.Join(absent, errNoAddress))
	}
	return s, nil
}

// errNoAddress is the reason where no address could be used.
var errNoAddress = errors.New("no address is usable")

// listen opens an address in its own family only, so that 0.0.0.0 and [::] can both
// be opened.
func listen(ctx context.Context, a netip.AddrPort) (net.Listener, error) {
	network := "tcp4"
	if a.Addr().Is6() && !a.Addr().Is4In6() {
		network = "tcp6"
	}
	var lc net.ListenConfig
	return lc.Listen(ctx, network, a.String())
}

func familyAbsent(err error) bool {
	return errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL) ||
		errors.Is(err, syscall.EPROTONOSUPPORT)
}

// explain turns the kernel's word into what an operator can do.
func (s *Server) explain(a netip.AddrPort, err error) error {
	name, port := s.config.Name, a.Port()
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		hint := s.config.Hint
		if hint != "" {
			hint = ", or " + hint
		}
		return fmt.Errorf("listen on the %s port %d: taken by another process; find it with `ss -ltnp sport = :%d` and stop it%s: %w",
			name, port, port, hint, err)
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return fmt.Errorf("listen on the %s port %d: not permitted; ports below 1024 need CAP_NET_BIND_SERVICE: %w", name, port, err)
	default:
		return fmt.Errorf("listen on the %s port %d: %w", name, port, err)
	}
}

// Addrs are the addresses in use, with the port that the system chose where 0 was
// asked for.
func (s *Server) Addrs() []netip.AddrPort {
	addrs := make([]netip.AddrPort, 0, len(s.listeners))
	for _, l := range s.listeners {
		if a, ok := l.Addr().(*net.TCPAddr); ok {
			addrs = append(addrs, a.AddrPort())
		}
	}
	return addrs
}

// Close gives the port back without serving. Run closes it itself.
func (s *Server) Close() {
	for _, l := range s.listeners {
		_ = l.Close() // nothing was accepted: nothing can be lost
	}
}

// Run serves until ctx ends, gives running requests a short while, and returns when
// every goroutine of the port has ended.
func (s *Server) Run(ctx context.Context) error {
	h := &http.Server{
		Handler:           s.config.Handler,
		ReadHeaderTimeout: headTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHead,
		ErrorLog:          slog.NewLogLogger(s.config.Logger.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, len(s.listeners))
	var serving sync.WaitGroup
	for _, l := range s.listeners {
		serving.Go(func() {
			if err := h.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("serve the %s port: %w", s.config.Name, err)
			}
		})
	}
	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if h.Shutdown(bounded) != nil {
		_ = h.Close() // requests that would not end are cut off
	}
	serving.Wait()
	return err
}
