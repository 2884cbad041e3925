package peers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/outrigger-mesh/outrigger/bench/feed"
)

// ErrUnsupported says that a kind of proxy cannot do what a hop asks for.
var ErrUnsupported = errors.New("not supported")

var errNotFed = errors.New("no listeners were acknowledged")

// readyWait bounds the time until all hops of a proxy take connections.
const readyWait = 30 * time.Second

// Env is what all proxies of a run share.
type Env struct {
	Dir      string // of files; one folder for each node
	Feed     *feed.Server
	Launcher *Launcher
	Ports    *Ports
	// Threads is how many processors a proxy may use.
	Threads int
}

// Node is one proxy to be: a name that is used once, and its ways.
type Node struct {
	Name string
	Role feed.Role
	Hops []feed.Hop
	// Wait bounds the time until it is ready; zero stands for half a minute.
	Wait time.Duration
	// Extra is added to the environment.
	Extra []string
}

// Kind is a kind of proxy, found on this machine.
type Kind interface {
	// Name is the subject's in the results.
	Name() string
	// Version is what the program says about itself.
	Version(ctx context.Context) string
	// Supports fails where a hop cannot be configured.
	Supports(h feed.Hop) error
	// command writes the configuration of a node and says how it is started.
	command(ctx context.Context, e *Env, n *Node, dir string) (Command, error)
}

// Start starts a proxy and waits until it takes connections.
func Start(ctx context.Context, e *Env, k Kind, n *Node) (*Process, error) {
	p, err := Launch(ctx, e, k, n)
	if err != nil {
		return nil, err
	}
	if err := Ready(ctx, e, p, n); err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	return p, nil
}

// Launch starts a proxy and does not wait.
func Launch(ctx context.Context, e *Env, k Kind, n *Node) (*Process, error) {
	for _, h := range n.Hops {
		if err := k.Supports(h); err != nil {
			return nil, fmt.Errorf("%s: %w", k.Name(), err)
		}
	}
	dir := filepath.Join(e.Dir, n.Name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	c, err := k.command(ctx, e, n, dir)
	if err != nil {
		return nil, fmt.Errorf("configure %s: %w", n.Name, err)
	}
	c.Name = n.Name
	return e.Launcher.Start(c)
}

// Ready waits until every hop of a proxy takes connections.
func Ready(ctx context.Context, e *Env, p *Process, n *Node) error {
	wait := n.Wait
	if wait == 0 {
		wait = readyWait
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	d := net.Dialer{Timeout: time.Second}
	for _, h := range n.Hops {
		err := p.Until(ctx, 2*time.Millisecond, func() error {
			seen, fed := e.Feed.Seen(n.Name)
			if fed && !seen.Listeners {
				return errNotFed
			}
			c, err := d.DialContext(ctx, "tcp", Addr(h.Listen))
			if err != nil {
				return err
			}
			return c.Close()
		})
		if err != nil {
			return err
		}
	}
	if seen, _ := e.Feed.Seen(n.Name); len(seen.Refused) > 0 {
		return &RefusedError{Node: n.Name, Texts: seen.Refused}
	}
	return nil
}

// RefusedError says that a proxy did not accept its configuration.
type RefusedError struct {
	Node  string
	Texts []string
}

// Error names the node and what it said.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("%s refused its configuration: %q", e.Node, e.Texts)
}

// writeFiles writes files of a node and returns their paths by name.
func writeFiles(dir string, files map[string][]byte) (map[string]string, error) {
	paths := make(map[string]string, len(files))
	for name, text := range files {
		paths[name] = filepath.Join(dir, name)
		if err := os.WriteFile(paths[name], text, 0o600); err != nil {
			return nil, err
		}
	}
	return paths, nil
}
