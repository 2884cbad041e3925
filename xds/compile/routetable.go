package compile

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/route"
	"github.com/outrigger-mesh/outrigger/xds"
)

// routesWait is how long a request waits for a route configuration that has never
// arrived.
const routesWait = 5 * time.Second

type ruleHost = route.VirtualHost[*proxy.Rule]

// routeTable is the live table of one route configuration's name. Virtual hosts
// are built when a request first asks for them.
type routeTable struct {
	c    *Compiler // immutable
	name string

	// written by the compiler
	now atomic.Pointer[routeState]

	// guarded by the compiler's lock
	refused bool // the last configuration was, so that waiting for one is idle
}

// routeState is what a table knows of one version of its route configuration.
type routeState struct {
	byHost remembered[string, *ruleHost] // by the domains that requests have named
	byID   remembered[uint64, builtHost]
	wild   recent[*ruleHost] // by names that a wildcard took in

	// guarded by the compiler's lock
	level   *routeLevel
	earlier map[uint64]builtHost // what the version before had built
}

// builtHost is a virtual host that was built, with the domains it is found by.
type builtHost struct {
	host    *ruleHost
	domains []string // lower case
}

// names reports whether a host is one of the domains itself.
func (b builtHost) names(host string) bool { return slices.Contains(b.domains, host) }

func newRouteState(level *routeLevel, earlier map[uint64]builtHost) *routeState {
	return &routeState{level: level, earlier: earlier}
}

// routes finds or makes the live table of a name. The lock is held.
func (c *Compiler) routes(name string) *routeTable {
	t := c.tables[name]
	if t == nil {
		t = &routeTable{c: c, name: name}
		t.now.Store(newRouteState(nil, nil))
		c.tables[name] = t
	}
	return t
}

// Match finds the rule of a request.
func (t *routeTable) Match(r *httpmsg.Request, random uint64) (*proxy.Rule, bool) {
	host := route.HostOnly(r.Authority)
	st := t.now.Load()
	v, ok := st.byHost.get(host)
	if !ok {
		if v, ok = st.wild.get(host); !ok {
			v = t.find(host)
		}
	}
	if v == nil {
		return nil, false
	}
	return v.Match(r, random)
}

// find looks a host up that is not remembered, and has its virtual host built
// where nobody asked for it before.
func (t *routeTable) find(host string) *ruleHost {
	st := t.now.Load() // before the store is asked: what is remembered may be older than it, never newer
	if ref, ok := t.c.store.Lookup(t.name, host); ok {
		if e, built := st.byID.get(ref.ID); built && !e.names(host) {
			st.wild.put(host, e.host)
			return e.host
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), routesWait)
	defer cancel()
	var found *ruleHost
	_ = t.c.await(ctx, func() error {
		var err error
		found, err = t.build(host)
		return err
	})
	return found
}

// build is find under the compiler's lock.
func (t *routeTable) build(host string) (*ruleHost, error) {
	st := t.now.Load()
	ref, ok := t.c.store.Lookup(t.name, host)
	if !ok {
		if _, known := t.c.store.RouteTop(t.name); !known && !t.refused {
			return nil, errNotYet
		}
		return nil, nil
	}
	e, ok := st.byID.get(ref.ID)
	if !ok {
		var err error
		if e, err = t.compile(st, ref); err != nil {
			return nil, err
		}
		st.byID.add(ref.ID, e)
	}
	if e.names(host) { // what a wildcard takes in has no end
		st.byHost.add(strings.Clone(host), e.host)
	}
	return e.host, nil
}

func (t *routeTable) compile(st *routeState, ref xds.VHostRef) (builtHost, error) {
	if e, ok := st.earlier[ref.ID]; ok {
		return e, nil
	}
	if st.level == nil {
		level, err := t.head()
		if err != nil {
			return builtHost{}, err
		}
		st.level = level
	}
	body, ok := t.c.store.VHost(nil, ref)
	if !ok {
		return builtHost{}, errNotYet
	}
	var m routev3.VirtualHost
	if err := proto.Unmarshal(body, &m); err != nil {
		return builtHost{}, t.c.failed("virtual host", t.name, err)
	}
	s := newScope()
	e := builtHost{host: virtualHost(s, st.level, &m)}
	if err := s.err(); err != nil { // reported once: the empty host is remembered
		_ = t.c.failed("virtual host", t.name+"/"+m.GetName(), err)
		e.host = new(ruleHost)
	}
	for _, d := range m.GetDomains() {
		e.domains = append(e.domains, strings.ToLower(d))
	}
	return e, nil
}

func (t *routeTable) head() (*routeLevel, error) {
	body, ok := t.c.store.RouteTop(t.name)
	if !ok {
		return nil, errNotYet
	}
	var m routev3.RouteConfiguration
	if err := proto.Unmarshal(body, &m); err != nil {
		return nil, t.c.failed("route configuration", t.name, err)
	}
	s := newScope()
	level := newRouteLevel(s, t.c, &m)
	level.digest, _ = t.c.walker.Walk("envoy.config.route.v3.RouteConfiguration", body, true)
	if err := s.err(); err != nil {
		return nil, t.c.failed("route configuration", t.name, err)
	}
	return level, nil
}

// routesChanged follows an RDS push: the tables forget which authority leads
// where, and keep the virtual hosts that did not change, provided that what
// applies to all of them did not change either.
func (c *Compiler) routesChanged(changed, removed []string) {
	for _, name := range slices.Concat(changed, removed) {
		t := c.tables[name]
		if t == nil {
			continue
		}
		t.refused = false
		old := t.now.Load()
		level, err := t.head()
		if err != nil || old.level == nil || level.digest != old.level.digest {
			t.now.Store(newRouteState(nil, nil))
			continue
		}
		t.now.Store(newRouteState(old.level, old.byID.all()))
	}
}
