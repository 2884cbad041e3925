package conformance_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
)

// victim sends requests at a fixed rate through a sidecar that is attacked on
// other connections.
type victim struct {
	// immutable
	client *http.Client
	url    string
}

// victimRate is the requests a second.
const victimRate = 300

// newVictim returns a victim in a pod. It uses one connection of HTTP/2 by prior
// knowledge where h2 is true.
func newVictim(t *testing.T, pod *testmesh.Pod, url string, h2 bool) *victim {
	t.Helper()
	tr := &http.Transport{DialContext: pod.Dial, MaxIdleConnsPerHost: 64, Protocols: new(http.Protocols)}
	tr.Protocols.SetHTTP1(!h2)
	tr.Protocols.SetUnencryptedHTTP2(h2)
	t.Cleanup(tr.CloseIdleConnections)
	v := &victim{client: &http.Client{Transport: tr, Timeout: soon}, url: url}
	eventually(t, "the victim is served", func() bool { return v.get(t.Context()) == nil })
	return v
}

func (v *victim) get(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, v.url, nil)
	if err != nil {
		return err
	}
	resp, err := v.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}

// suffers sends requests for a span, each when its time has come whether or not
// those before are answered, and returns the latencies in order.
func (v *victim) suffers(ctx context.Context, span time.Duration) (latencies []time.Duration, err error) {
	var mu sync.Mutex
	var calls sync.WaitGroup
	tick := time.NewTicker(time.Second / victimRate)
	defer tick.Stop()
	for end := time.Now().Add(span); time.Now().Before(end); {
		due := <-tick.C
		calls.Go(func() {
			failed := v.get(ctx)
			took := time.Since(due)
			mu.Lock()
			defer mu.Unlock()
			latencies = append(latencies, took)
			err = errors.Join(err, failed)
		})
	}
	calls.Wait()
	slices.Sort(latencies)
	return latencies, err
}

// often sends n requests, some at the same time.
func (v *victim) often(ctx context.Context, n, parallel int) error {
	errs := make([]error, parallel)
	var workers sync.WaitGroup
	for i := range errs {
		workers.Go(func() {
			for range n / parallel {
				if errs[i] = v.get(ctx); errs[i] != nil {
					return
				}
			}
		})
	}
	workers.Wait()
	return errors.Join(errs...)
}

// p99 is the ninety-ninth percentile of sorted latencies.
func p99(sorted []time.Duration) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[len(sorted)*99/100]
}

// watch samples a sidecar's memory until stop is called, which returns the most
// it saw.
func watch(t *testing.T, pod *testmesh.Pod) (stop func() int64) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var most int64
	var sampler sync.WaitGroup
	sampler.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			if rss, err := pod.SidecarRSS(); err == nil {
				most = max(most, rss)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return func() int64 {
		cancel()
		sampler.Wait()
		return most
	}
}

// cpu returns the processor time a sidecar has used.
func cpu(t *testing.T, pod *testmesh.Pod) time.Duration {
	t.Helper()
	used, err := pod.SidecarCPU()
	if err != nil {
		t.Fatal(err)
	}
	return used
}
