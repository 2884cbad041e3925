package compile

import (
	"context"
	"errors"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"

	"github.com/outrigger-mesh/outrigger/authz"
	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/telemetry/accesslog"
	"github.com/outrigger-mesh/outrigger/upstream"
)

// Fill builds a listener as its first connection does.
func (c *Compiler) Fill(ctx context.Context, l *proxy.Listener) error { return c.fillListener(ctx, l) }

// Routes returns the live table of a name.
func (c *Compiler) Routes(name string) proxy.Routes {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.routes(name)
}

// Cluster returns the live object of a name.
func (c *Compiler) Cluster(name string) *upstream.Cluster {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cluster(name)
}

// Policies compiles the policies of an RBAC filter.
func Policies(m *rbacv3.RBAC) (*authz.Set, error) {
	s := newScope()
	set := policies(s, m)
	return set, s.err()
}

// Decoded compiles a load assignment by itself, and as an update of known.
func Decoded(body []byte, known *lb.Set) (alone []lb.EndpointSpec, follows []*lb.EndpointSpec, err error) {
	s, again := newScope(), newScope()
	alone, follows = decodeEndpoints(s, body), followEndpoints(again, body, known)
	return alone, follows, errors.Join(s.err(), again.err())
}

// LogFilter compiles the filter of an access log.
func (c *Compiler) LogFilter(m *accesslogv3.AccessLogFilter) accesslog.Filter { return c.logFilter(m) }
