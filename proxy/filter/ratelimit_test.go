package filter_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unique"

	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/proxy/filter"
)

func TestBucketsFillSteadily(t *testing.T) {
	t.Parallel()
	begun := time.Unix(0, 0)
	b := filter.NewBucket(begun, 3, 2, time.Second)
	take := func(at time.Duration) (n int) {
		for b.Take(begun.Add(at)) {
			n++
		}
		return n
	}
	for _, c := range []struct {
		at   time.Duration
		want int
	}{{0, 3}, {0, 0}, {400 * time.Millisecond, 0}, {500 * time.Millisecond, 1}, {900 * time.Millisecond, 0}, {2 * time.Second, 3}, {time.Hour, 3}, {time.Hour, 0}} {
		if got := take(c.at); got != c.want {
			t.Errorf("after %v: got %d tokens, want %d", c.at, got, c.want)
		}
	}
}

func TestBucketsGiveEachTokenOnce(t *testing.T) {
	t.Parallel()
	now := time.Now()
	b := filter.NewBucket(now, 1000, 1, time.Hour)
	var got atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for b.Take(now) {
				got.Add(1)
			}
		})
	}
	wg.Wait()
	if got.Load() != 1000 {
		t.Errorf("1000 tokens were taken %d times", got.Load())
	}
}

func TestLimitsRefuseWhatIsBeyondThem(t *testing.T) {
	t.Parallel()
	name := unique.Make("limit")
	var counts filter.RateLimitCounts
	own := &filter.RateLimitSpec{
		Bucket: filter.NewBucket(time.Now(), 1, 1, time.Hour), Enabled: filter.Everything, Enforced: filter.Everything,
		Status: 429, Tell: true, Counts: &counts,
		Response: &proxy.HeaderEdits{Set: []proxy.HeaderEdit{{Name: "x-limit", Value: "yes"}}},
	}
	records := make(seen, 1)
	in := proxy.Installed{Name: name, Filter: filter.NewRateLimit(name, filter.RateLimitSpec{})}
	addr := filtered(t, direct(proxy.Override{Name: name, Config: own}), in, records)
	resp, body, rec := ask(t, addr, records, "GET / HTTP/1.1\r\nhost: a")
	if resp.StatusCode != 200 || body != "in" || rec.Flags != 0 || resp.Header.Get("x-ratelimit-remaining") != "0" {
		t.Errorf("within the limit: got %d %q %v", resp.StatusCode, body, resp.Header)
	}
	resp, body, rec = ask(t, addr, records, "GET / HTTP/1.1\r\nhost: a")
	if resp.StatusCode != 429 || body != "local_rate_limited" || rec.Flags.String() != "RL" || resp.Header.Get("x-limit") != "yes" {
		t.Errorf("beyond it: got %d %q %v, %s", resp.StatusCode, body, resp.Header, rec.Flags)
	}
	if e, ok, l, f := counts.Enabled.Load(), counts.OK.Load(), counts.Limited.Load(), counts.Enforced.Load(); e != 2 || ok != 1 || l != 1 || f != 1 {
		t.Errorf("counted %d enabled, %d ok, %d limited, %d enforced", e, ok, l, f)
	}
}
