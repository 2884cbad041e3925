package http2

import (
	"math"
	"math/rand/v2"
	"time"
)

// Defaults of Settings: Envoy's, from config.core.v3.Http2ProtocolOptions and from
// HttpProtocolOptions for heads.
const (
	DefaultMaxConcurrentStreams = 1024
	DefaultStreamWindow         = 16 << 20
	DefaultConnWindow           = 24 << 20
	DefaultHeaderTableSize      = 4096
	DefaultMaxHeadBytes         = 60 << 10
	DefaultMaxHeaders           = 100
	DefaultIdleTimeout          = time.Hour
)

// NoHeaderTable is a HeaderTableSize that forbids the peer to index fields.
const NoHeaderTable = math.MaxUint32

// Settings are what both sides have in common. Zero values are Envoy's defaults.
type Settings struct {
	// MaxConcurrentStreams is how many streams a downstream may have open, and at
	// most how many we open towards an upstream. 0 is 1024.
	MaxConcurrentStreams uint32
	// InitialStreamWindow is how much content of one stream may wait to be read. 0 is
	// 16 MiB; less than 65535 is 65535.
	InitialStreamWindow uint32
	// InitialConnWindow is the same for all streams of a connection. 0 is 24 MiB.
	InitialConnWindow uint32
	// HeaderTableSize is the memory that the peer may use to compress its heads. 0 is
	// 4096; see NoHeaderTable.
	HeaderTableSize uint32
	// MaxHeadBytes counts names and values; 0 is 60 KiB. MaxHeaders counts fields; 0
	// is 100. Crumbs of a cookie count each.
	MaxHeadBytes int
	MaxHeaders   int
	// AllowConnect has extended CONNECT accepted, and used towards upstreams that
	// accept it (RFC 8441).
	AllowConnect bool
	KeepAlive    KeepAlive
	Floods       FloodLimits
}

// WithHeads is the settings with other bounds of heads.
func (s Settings) WithHeads(maxBytes, maxFields int) Settings {
	s.MaxHeadBytes, s.MaxHeaders = maxBytes, maxFields
	return s
}

// KeepAlive has the peer pinged. Without an interval it is not.
type KeepAlive struct {
	Interval time.Duration
	// Jitter is how many per cent longer an interval may be, by chance.
	Jitter uint32
	// Timeout is how long an answer may take. It is a minute if 0.
	Timeout time.Duration
}

// next is the time until the next ping, so that connections that were made at the same
// time are not all pinged at once.
func (k *KeepAlive) next() int64 {
	return int64(k.Interval) + rand.Int64N(max(1, int64(k.Interval)/100*int64(min(k.Jitter, 100)))) //nolint:gosec // jitter
}

// FloodLimits bound what a peer may have us do for nothing. Zero values are Envoy's
// defaults.
type FloodLimits struct {
	// OutboundFrames is how many frames may wait to be written; 0 is 10000.
	OutboundFrames int
	// OutboundControlFrames is the same for those that answer the peer's: SETTINGS,
	// PING and RST_STREAM; 0 is 1000.
	OutboundControlFrames int
	// EmptyFrames is how many frames in a row may come without content and without
	// ending their stream; 0 is 1, negative is none.
	EmptyFrames int
	// PriorityPerStream is how many PRIORITY frames may come for each stream, and
	// once more; 0 is 100.
	PriorityPerStream int
	// WindowUpdatesPerData is how many WINDOW_UPDATE frames may come for each DATA
	// frame that was sent; 0 is 10. The bound is 5 + 2 * (streams + this * frames).
	WindowUpdatesPerData int
	// PrematureResets is how many streams a downstream may end within their first
	// second, by a reset or by an error of its own making, when they are at least half
	// of all: half of this many at once, or this many in all. 0 is 500.
	PrematureResets int
}

// normalize puts the defaults in place.
func (s *Settings) normalize() {
	s.MaxConcurrentStreams = min(or(s.MaxConcurrentStreams, DefaultMaxConcurrentStreams), maxWindow)
	s.InitialStreamWindow = window(or(s.InitialStreamWindow, DefaultStreamWindow))
	s.InitialConnWindow = window(or(s.InitialConnWindow, DefaultConnWindow))
	if s.HeaderTableSize == NoHeaderTable {
		s.HeaderTableSize = 0
	} else {
		s.HeaderTableSize = or(s.HeaderTableSize, DefaultHeaderTableSize)
	}
	s.MaxHeadBytes = positive(s.MaxHeadBytes, DefaultMaxHeadBytes)
	s.MaxHeaders = positive(s.MaxHeaders, DefaultMaxHeaders)
	if s.KeepAlive.Timeout <= 0 {
		s.KeepAlive.Timeout = time.Minute
	}
	f := &s.Floods
	f.OutboundFrames = positive(f.OutboundFrames, 10000)
	f.OutboundControlFrames = positive(f.OutboundControlFrames, 1000)
	if f.EmptyFrames == 0 {
		f.EmptyFrames = 1
	}
	f.EmptyFrames = max(f.EmptyFrames, 0)
	f.PriorityPerStream = positive(f.PriorityPerStream, 100)
	f.WindowUpdatesPerData = positive(f.WindowUpdatesPerData, 10)
	f.PrematureResets = positive(f.PrematureResets, 500)
}

func or(v, def uint32) uint32 {
	if v == 0 {
		return def
	}
	return v
}

func positive(v, def int) int {
	if v <= 0 {
		return def
	}
	return v
}

// window keeps a window within what the protocol knows: RFC 9113 starts with the
// least.
func window(v uint32) uint32 { return min(max(v, 65535), maxWindow) }
