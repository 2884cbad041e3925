package xds

import (
	"iter"
	"sync/atomic"
	"time"
)

// Status is what a client knows about its stream.
type Status struct {
	Connected bool      // a response has arrived on the current stream
	Reason    string    // why not, and what to do
	Since     time.Time // when that became so
	Types     []TypeStatus
}

// TypeStatus is the state of one resource type.
type TypeStatus struct {
	TypeURL string
	// Synced: a response was accepted, at least in part, and no name that is referred to is missing.
	Synced   bool
	Accepted bool   // the last response was accepted as a whole
	Missing  int    // names referred to and not received
	Version  string // of the last response
	LastNACK string // text of the last rejection; it stays until a response is accepted
	Count    int
}

// typeState is what the client remembers per type; guarded by Client.mu.
type typeState struct {
	answered bool // some response was applied, now or on an earlier stream
	accepted bool
	nack     string
}

// counters count since the start.
type counters struct {
	success    [kinds]atomic.Uint64
	rejected   [kinds]atomic.Uint64
	connects   atomic.Uint64
	failures   atomic.Uint64
	reconnects atomic.Uint64
	received   atomic.Uint64
}

// Counters lists the counters by name, for example "cds.update_success".
func (c *Client) Counters() iter.Seq2[string, uint64] {
	return func(yield func(string, uint64) bool) {
		for k := range kinds {
			if !yield(lowerShort[k]+".update_success", c.counters.success[k].Load()) ||
				!yield(lowerShort[k]+".update_rejected", c.counters.rejected[k].Load()) {
				return
			}
		}
		_ = yield("connects", c.counters.connects.Load()) &&
			yield("connect_failures", c.counters.failures.Load()) &&
			yield("reconnects", c.counters.reconnects.Load()) &&
			yield("received_bytes", c.counters.received.Load())
	}
}

var lowerShort = [kinds]string{cds: "cds", eds: "eds", lds: "lds", rds: "rds", ecds: "ecds", sds: "sds", nds: "nds"}

// Status reports the state of the stream and of each type.
func (c *Client) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := Status{Connected: c.connected, Reason: c.reason, Since: c.since}
	for k := range kinds {
		if k == nds && !c.cfg.NameTable {
			continue
		}
		t := TypeStatus{
			TypeURL: traits[k].url, Accepted: c.types[k].accepted, LastNACK: c.types[k].nack,
			Missing: c.store.missing(k), Version: c.store.Version(traits[k].url), Count: c.store.Count(traits[k].url),
		}
		t.Synced = t.Missing == 0 && (c.types[k].answered || !traits[k].wildcard)
		st.Types = append(st.Types, t)
	}
	return st
}

// connection notes the state of the stream.
func (c *Client) connection(connected bool, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.connected != connected || c.reason != reason {
		c.connected, c.reason, c.since = connected, reason, time.Now()
	}
}

// outcome notes how a response was taken.
func (c *Client) outcome(k kind, applied bool, nack string) {
	if nack == "" {
		c.counters.success[k].Add(1)
	} else {
		c.counters.rejected[k].Add(1)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &c.types[k]
	t.answered = t.answered || applied
	t.accepted, t.nack = nack == "", nack
}
