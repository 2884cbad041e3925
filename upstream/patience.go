package upstream

import "time"

const (
	// leastPatience is the shortest time that is taken for an upstream's idle time-out:
	// what ends sooner has ended for another reason.
	leastPatience = time.Second
	// distinct is how far apart two closes must be to be two observations: those of one
	// moment are a restart.
	distinct = 100 * time.Millisecond
	// remembered is how long an observation holds. What holds longer is observed again.
	remembered = time.Hour
)

// patience is what is known of how long an upstream keeps an idle connection open. It
// says so, in a Keep-Alive field, or shows it by closing twice after the same time.
type patience struct {
	told   time.Duration // by the last response; 0 is nothing
	shown  time.Duration // by two closes; 0 is nothing
	since  time.Time     // when shown became known
	idle   time.Duration // of the last close
	closed time.Time     // when that was
}

// hear notes what the upstream has announced, and reports whether that is new.
func (p *patience) hear(d time.Duration) bool {
	news := d != p.told
	p.told = d
	return news
}

// see notes that the upstream has closed a connection that was idle for so long.
func (p *patience) see(idle time.Duration, now time.Time) {
	if idle < leastPatience || now.Sub(p.closed) < distinct && !p.closed.IsZero() {
		return
	}
	if apart := (idle - p.idle).Abs(); p.idle > 0 && apart <= max(p.idle/20, distinct) {
		p.shown, p.since = min(idle, p.idle), now
	}
	p.idle, p.closed = idle, now
}

// limit is how long a connection may be idle and still be used, sooner than the
// upstream closes it; 0 is not known.
func (p *patience) limit(now time.Time) time.Duration {
	least := p.told
	if p.shown > 0 && now.Sub(p.since) < remembered && (least == 0 || p.shown < least) {
		least = p.shown
	}
	if least < leastPatience {
		return 0
	}
	return least - min(max(least/10, 200*time.Millisecond), 2*time.Second)
}
