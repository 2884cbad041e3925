package xds

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// The back-off of Envoy: from half a second, doubled up to 30 seconds, with full jitter.
	backoffBase = 500 * time.Millisecond
	backoffMax  = 30 * time.Second
	// quickRetry bounds the first wait after a stream that worked: istiod ends streams on purpose.
	quickRetry = 200 * time.Millisecond
	// longEnough is how long a stream must have lived for its end to be taken as ordinary.
	longEnough = time.Second
)

// Client keeps the store in step with istiod.
type Client struct {
	cfg   Config
	store *Store
	log   *slog.Logger

	counters counters

	mu        sync.Mutex
	connected bool             // guarded by mu
	reason    string           // guarded by mu
	since     time.Time        // guarded by mu
	types     [kinds]typeState // guarded by mu
}

// New returns a client that does nothing yet.
func New(cfg Config) (*Client, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s, err := NewStore(cfg.Rules)
	if err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Handler != nil {
		s.Judge(cfg.Handler.Check)
	}
	return &Client{cfg: cfg, store: s, log: cfg.Log, reason: "not started", since: time.Now()}, nil
}

// Store is what the client fills. It lives on after Run and has to be closed by whoever needs it no more.
func (c *Client) Store() *Store { return c.store }

// Run holds a stream to istiod until the context ends, and returns then. What was received is kept through any loss of
// connection.
func (c *Client) Run(ctx context.Context) error {
	failures := 0
	for {
		start := time.Now()
		worked, err := c.stream(ctx)
		if ctx.Err() != nil {
			c.connection(false, "stopped")
			return ctx.Err()
		}
		wait := jitter(quickRetry)
		if !worked || time.Since(start) < longEnough {
			wait = backoff(failures)
			failures++
		} else {
			failures = 0
		}
		d := diagnose(err, &c.cfg)
		c.connection(false, d.reason)
		c.log.LogAttrs(ctx, d.level(worked), d.reason, slog.String("istiod", c.cfg.Address), slog.String("error", brief(err)),
			slog.Duration("retry_in", wait))
		if !sleep(ctx, wait) {
			c.connection(false, "stopped")
			return ctx.Err()
		}
		c.counters.reconnects.Add(1)
	}
}

// backoff returns the wait after the nth failure in a row.
func backoff(n int) time.Duration {
	limit := backoffMax
	if n < 6 {
		limit = min(backoffBase<<n, backoffMax)
	}
	return jitter(limit)
}

// jitter returns a random part of d, never quite nothing.
func jitter(d time.Duration) time.Duration { return d/20 + rand.N(d-d/20) }

// sleep waits unless the context ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
