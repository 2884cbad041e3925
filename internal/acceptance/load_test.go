package acceptance_test

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
)

// load is a steady stream of requests from a pod.
type load struct {
	// immutable
	began time.Time
	stop  chan struct{} // closed by end

	done sync.WaitGroup

	mu    sync.Mutex
	tally tally // guarded by mu
}

// tally counts what became of the requests.
type tally struct {
	Good    int
	By      map[string]int // good ones, by the pod that answered
	Bad     map[string]int // by what went wrong
	First   time.Time      // of the bad ones
	Elapsed time.Duration
}

func (y *tally) bad() (n int) {
	for _, k := range y.Bad {
		n += k
	}
	return n
}

func (y *tally) String() string {
	var b strings.Builder
	b.WriteString(strconv.Itoa(y.Good) + " good, " + strconv.Itoa(y.bad()) + " bad in " + y.Elapsed.String())
	for _, what := range slices.Sorted(maps.Keys(y.Bad)) {
		b.WriteString("\n" + strconv.Itoa(y.Bad[what]) + " × " + what)
	}
	if !y.First.IsZero() {
		b.WriteString("\nfirst at " + y.First.Format(time.StampMilli))
	}
	return b.String()
}

// senders is how many requests of a load may be under way at once.
const senders = 32

// startLoad sends requests at a rate per second until stopped.
func startLoad(t *testing.T, pod *testmesh.Pod, url string, rate int) *load {
	t.Helper()
	l := &load{began: time.Now(), stop: make(chan struct{}), tally: tally{By: map[string]int{}, Bad: map[string]int{}}}
	due := make(chan struct{}, rate) // a second's worth may be late
	l.done.Go(func() {
		defer close(due)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; {
			for want := int(time.Since(l.began).Seconds() * float64(rate)); n < want; n++ {
				select {
				case due <- struct{}{}:
				default: // the machine is too slow; the tally tells
				}
			}
			select {
			case <-tick.C:
			case <-l.stop:
				return
			}
		}
	})
	for range senders {
		l.done.Go(func() {
			for range due {
				l.count(pod.Get(url))
			}
		})
	}
	t.Cleanup(func() { l.end() })
	return l
}

func (l *load) count(r *testmesh.Reply) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.Err == nil && r.Status == 200 && r.Echo != nil {
		l.tally.Good++
		l.tally.By[r.Echo.Pod]++
		return
	}
	if l.tally.First.IsZero() {
		l.tally.First = time.Now()
	}
	what := r.String()
	if i := strings.Index(what, "10.0."); i >= 0 && r.Err != nil {
		what = what[:i] + "…" + what[strings.LastIndex(what, ":"):]
	}
	l.tally.Bad[what]++
}

// soFar returns a copy of the tally.
func (l *load) soFar() *tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	y := l.tally
	y.Elapsed = time.Since(l.began).Round(time.Millisecond)
	y.By, y.Bad = maps.Clone(y.By), maps.Clone(y.Bad)
	return &y
}

// end stops the load, if it runs, and returns the tally of all requests.
func (l *load) end() *tally {
	l.mu.Lock()
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.mu.Unlock()
	l.done.Wait()
	return l.soFar()
}

// lossless ends the load and fails the test if a request failed or too few were made.
func (l *load) lossless(t *testing.T, atLeast int) {
	t.Helper()
	y := l.end()
	if y.bad() > 0 {
		t.Errorf("requests failed: %v", y)
	}
	if y.Good < atLeast {
		t.Errorf("got %d good requests, want at least %d for the load to mean anything: %v", y.Good, atLeast, y)
	}
	t.Log(y)
}
