package peers

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// Listening ports come from below the range out of which Linux takes the ports of
// outgoing connections, so that none of ten thousand connections sits on one.
const (
	lowestPort  = 20000
	highestPort = 32000
)

var errNoPort = errors.New("no free port on 127.0.0.1 between 20000 and 32000")

// Ports hands out free loopback ports, each once.
type Ports struct {
	mu    sync.Mutex // guards given
	given map[int]bool
}

// Free returns a port that nothing listens on.
func (p *Ports) Free(ctx context.Context) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.given == nil {
		p.given = make(map[int]bool)
	}
	var lc net.ListenConfig
	for range 1000 {
		port := lowestPort + rand.IntN(highestPort-lowestPort) //nolint:gosec // no secret
		if p.given[port] {
			continue
		}
		l, err := lc.Listen(ctx, "tcp", Addr(port))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			return 0, err
		}
		p.given[port] = true
		return port, nil
	}
	return 0, errNoPort
}

// Addr is a port of 127.0.0.1.
func Addr(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
