package outlier_test

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/outlier"
)

// team is a cluster's endpoints with their detector.
type team struct {
	d         *outlier.Detector
	endpoints []*lb.Endpoint
	monitors  []*outlier.Monitor
	reweighed atomic.Int32
}

func (m *team) Monitors() ([]*outlier.Monitor, int) { return m.monitors, len(m.monitors) }
func (m *team) Count() int                          { return len(m.monitors) }
func (m *team) Reweigh()                            { m.reweighed.Add(1) }

func newTeam(t *testing.T, n int, edit func(*outlier.Config)) *team {
	t.Helper()
	m := &team{}
	m.d = outlier.NewDetector(m)
	for i := range n {
		e := lb.NewEndpoint(&lb.EndpointSpec{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}), 80)})
		m.endpoints = append(m.endpoints, e)
		m.monitors = append(m.monitors, m.d.Monitor(e))
	}
	c := outlier.Defaults()
	c.MaxPercent = 100
	if edit != nil {
		edit(&c)
	}
	m.d.Configure(&c)
	t.Cleanup(m.d.Stop)
	return m
}

// reports sends statuses to one endpoint.
func (m *team) reports(i int, statuses ...int) {
	for _, s := range statuses {
		m.monitors[i].Report(outlier.Answered, s)
	}
}

func (m *team) value(name string) (v uint64) {
	m.d.Each(func(n string, value uint64, _ bool) {
		if n == name {
			v = value
		}
	})
	return v
}

// want compares counters given as "name=value".
func (m *team) want(t *testing.T, values map[string]uint64) {
	t.Helper()
	for name, want := range values {
		if got := m.value(name); got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
}

func TestFailuresInARowEject(t *testing.T) {
	t.Parallel()
	gateway := func(c *outlier.Config) {
		c.Consecutive = [3]uint32{0, 3, 0}
		c.Enforcing[outlier.ConsecutiveGateway] = 100
	}
	for _, tt := range []struct {
		name     string
		edit     func(*outlier.Config)
		statuses []int
		ejected  bool
	}{
		{"five by default", nil, []int{500, 500, 500, 500, 500}, true},
		{"four do not suffice", nil, []int{500, 500, 500, 500}, false},
		{"an answer between begins anew", nil, []int{500, 500, 404, 500, 500, 500, 500}, false},
		{"any 5xx counts", nil, []int{500, 503, 599, 504, 501}, true},
		{"not enforced", func(c *outlier.Config) { c.Enforcing[outlier.Consecutive5xx] = 0 }, []int{500, 500, 500, 500, 500}, false},
		{"never", func(c *outlier.Config) { c.Consecutive[outlier.Consecutive5xx] = 0 }, []int{500, 500, 500, 500, 500, 500}, false},
		{"gateway failures", gateway, []int{502, 503, 504}, true},
		{"a 500 is none", gateway, []int{502, 503, 500, 504, 502}, false},
		{"gateway failures are not enforced by default", func(c *outlier.Config) { c.Consecutive = [3]uint32{0, 2, 0} }, []int{503, 503, 503}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newTeam(t, 2, tt.edit)
			m.reports(0, tt.statuses...)
			if got := m.endpoints[0].Ejected(); got != tt.ejected || m.endpoints[1].Ejected() {
				t.Errorf("ejected %v, want %v", got, tt.ejected)
			}
			if got := m.value("ejections_active"); (got == 1) != tt.ejected || (m.reweighed.Load() == 1) != tt.ejected {
				t.Errorf("%d active, reweighed %d times", got, m.reweighed.Load())
			}
		})
	}
}

func TestAnEjectedEndpointIsDetectedOnce(t *testing.T) {
	t.Parallel()
	m := newTeam(t, 2, nil)
	m.reports(0, 500, 500, 500, 500, 500, 500, 500, 500, 500, 500)
	m.want(t, map[string]uint64{
		"ejections_detected_consecutive_5xx": 1, "ejections_enforced_consecutive_5xx": 1, "ejections_enforced_total": 1,
		"ejections_total": 1, "ejections_consecutive_5xx": 1, "ejections_overflow": 0,
	})
}

func TestOutcomesWithoutAStatusCountAsOne(t *testing.T) {
	t.Parallel()
	m := newTeam(t, 3, func(c *outlier.Config) {
		c.Consecutive = [3]uint32{3, 3, 3}
		c.Enforcing[outlier.Consecutive5xx], c.Enforcing[outlier.ConsecutiveGateway] = 0, 0
	})
	for range 3 {
		m.monitors[0].Report(outlier.ConnectFailed, 0) // 503
		m.monitors[1].Report(outlier.TimedOut, 0)      // 504
		m.monitors[2].Report(outlier.TimedOut, 204)    // the alternative response: no failure
	}
	m.want(t, map[string]uint64{"ejections_detected_consecutive_5xx": 2, "ejections_detected_consecutive_gateway_failure": 2})
	m.monitors[0].Report(outlier.ConnectFailed, 0)
	m.monitors[0].Report(outlier.ConnectFailed, 0)
	m.monitors[0].Report(outlier.Connected, 0) // says nothing of the exchange
	m.monitors[0].Report(outlier.ConnectFailed, 0)
	m.want(t, map[string]uint64{"ejections_detected_consecutive_5xx": 3})
	m.monitors[0].Report(outlier.Established, 0) // 200
	m.monitors[0].Report(outlier.ConnectFailed, 0)
	m.want(t, map[string]uint64{"ejections_detected_consecutive_5xx": 3, "ejections_detected_consecutive_local_origin_failure": 0})
}

func TestLocalFailuresCountApart(t *testing.T) {
	t.Parallel()
	split := func(c *outlier.Config) { c.Split, c.Consecutive = true, [3]uint32{3, 3, 3} }
	m := newTeam(t, 3, split)
	for range 2 {
		m.monitors[0].Report(outlier.ConnectFailed, 0)
		m.reports(1, 503)
		m.monitors[2].Report(outlier.TimedOut, 504)
	}
	m.monitors[0].Report(outlier.Connected, 0)
	m.monitors[0].Report(outlier.ConnectFailed, 0)
	m.monitors[1].Report(outlier.ConnectFailed, 0)
	m.monitors[2].Report(outlier.ConnectFailed, 0)
	m.want(t, map[string]uint64{
		"ejections_detected_consecutive_local_origin_failure": 1, "ejections_enforced_consecutive_local_origin_failure": 1,
		"ejections_detected_consecutive_5xx": 0, "ejections_total": 0,
	})
	m.reports(1, 503)
	m.want(t, map[string]uint64{"ejections_detected_consecutive_5xx": 1, "ejections_detected_consecutive_gateway_failure": 1})
	if m.endpoints[0].Ejected() || !m.endpoints[1].Ejected() || !m.endpoints[2].Ejected() {
		t.Error("others were ejected than those that failed")
	}
}

func TestNotTooManyAreEjected(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		of, percent int
		always      bool
		failing     int
		ejected     uint64
	}{
		{of: 10, percent: 10, failing: 3, ejected: 1},
		{of: 9, percent: 10, failing: 3, ejected: 0},
		{of: 3, percent: 10, failing: 3, ejected: 0},
		{of: 3, percent: 10, always: true, failing: 3, ejected: 1},
		{of: 1, percent: 0, always: true, failing: 1, ejected: 1},
		{of: 4, percent: 50, failing: 4, ejected: 2},
		{of: 3, percent: 50, failing: 3, ejected: 1},
		{of: 3, percent: 100, failing: 3, ejected: 3},
		{of: 3, percent: 200, failing: 3, ejected: 3},
	} {
		m := newTeam(t, tt.of, func(c *outlier.Config) { c.MaxPercent, c.AlwaysOne = uint32(tt.percent), tt.always })
		for i := range tt.failing {
			m.reports(i, 500, 500, 500, 500, 500)
		}
		name := fmt.Sprintf("%d of %d at %d%%, always one %v", tt.failing, tt.of, tt.percent, tt.always)
		if got, over := m.value("ejections_active"), m.value("ejections_overflow"); got != tt.ejected || over != uint64(tt.failing)-tt.ejected {
			t.Errorf("%s: %d ejected and %d over, want %d", name, got, over, tt.ejected)
		}
	}
}

// TestTheTimeOfAnEjectionGrowsAndShrinks follows one endpoint through its sweeps,
// which come every ten seconds from the first report on.
func TestTheTimeOfAnEjectionGrowsAndShrinks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newTeam(t, 2, func(c *outlier.Config) { c.Base, c.Max = 15*time.Second, 40*time.Second })
		fail := func() { m.reports(0, 500, 500, 500, 500, 500) }
		lasts := func() time.Duration {
			start := time.Now()
			for m.endpoints[0].Ejected() {
				time.Sleep(time.Second)
				synctest.Wait()
			}
			return time.Since(start).Round(time.Second)
		}
		fail()
		if got := lasts(); got != 20*time.Second {
			t.Errorf("the first ejection of 15 s ended at the sweep after %v, want 20 s", got)
		}
		fail()
		if got := lasts(); got != 30*time.Second {
			t.Errorf("the second took %v, want 30 s", got)
		}
		for i := range 3 {
			fail()
			if got := lasts(); got != 40*time.Second {
				t.Errorf("number %d took %v, want the most, 40 s", i+3, got)
			}
		}
		m.want(t, map[string]uint64{"ejections_enforced_total": 5, "ejections_active": 0})
		time.Sleep(5 * time.Minute) // every sweep in use takes one back
		fail()
		if got := lasts(); got != 20*time.Second {
			t.Errorf("after a good while the time was %v, want 20 s", got)
		}
	})
}

func TestJitterIsAddedToAnEjection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newTeam(t, 40, func(c *outlier.Config) { c.Interval, c.Base, c.Jitter = time.Second, 10*time.Second, 10*time.Second })
		for i := range m.monitors {
			m.reports(i, 500, 500, 500, 500, 500)
		}
		time.Sleep(9500 * time.Millisecond)
		synctest.Wait()
		before := m.d.Active()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		between := m.d.Active()
		time.Sleep(7 * time.Second)
		synctest.Wait()
		if before != 40 || between == 0 || between == 40 || m.d.Active() != 0 {
			t.Errorf("got %d, %d and %d ejected", before, between, m.d.Active())
		}
	})
}

func TestSuccessRatesAreCompared(t *testing.T) {
	t.Parallel()
	rate := func(c *outlier.Config) { c.Consecutive = [3]uint32{} }
	for _, tt := range []struct {
		name     string
		edit     func(*outlier.Config)
		requests int
		rates    []int // percentages of success
		ejected  []int
	}{
		{"the one that stands out", rate, 100, []int{50, 100, 100, 100, 100}, []int{0}},
		{"none stands out", rate, 100, []int{80, 85, 90, 95, 100}, nil},
		{"too few requests", rate, 99, []int{50, 100, 100, 100, 100}, nil},
		{"too few endpoints", rate, 100, []int{50, 100, 100, 100}, nil},
		{"a stricter factor", func(c *outlier.Config) { rate(c); c.Success.Factor = 1000 }, 100, []int{80, 90, 100, 100, 100}, []int{0}},
		{"not enforced", func(c *outlier.Config) { rate(c); c.Enforcing[outlier.SuccessRate] = 0 }, 100, []int{50, 100, 100, 100, 100}, nil},
		{"failures by percentage", func(c *outlier.Config) {
			rate(c)
			c.Success.MinHosts, c.Enforcing[outlier.FailurePercentage] = 100, 100
		}, 100, []int{15, 16, 0, 100, 100}, []int{0, 2}},
		{"failures by another percentage", func(c *outlier.Config) {
			rate(c)
			c.Success.MinHosts, c.Enforcing[outlier.FailurePercentage] = 100, 100
			c.Failure = outlier.Rate{MinHosts: 2, Volume: 10, Factor: 50}
		}, 10, []int{50, 60, 40}, []int{0, 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := newTeam(t, len(tt.rates), tt.edit)
				for i, rate := range tt.rates {
					for n := range tt.requests {
						status := 200
						if n*100 >= rate*tt.requests {
							status = 500
						}
						m.reports(i, status)
					}
				}
				time.Sleep(10 * time.Second)
				synctest.Wait()
				var got []int
				for i, e := range m.endpoints {
					if e.Ejected() {
						got = append(got, i)
					}
				}
				if fmt.Sprint(got) != fmt.Sprint(tt.ejected) {
					t.Errorf("ejected %v, want %v", got, tt.ejected)
				}
			})
		})
	}
}

func TestLocalSuccessRatesAreComparedApart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newTeam(t, 5, func(c *outlier.Config) { c.Split, c.Consecutive = true, [3]uint32{} })
		for i := range 5 {
			for n := range 100 {
				if i == 3 && n < 50 {
					m.monitors[i].Report(outlier.ConnectFailed, 0)
				} else {
					m.monitors[i].Report(outlier.Connected, 0)
					m.monitors[i].Report(outlier.Answered, 200)
				}
			}
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if !m.endpoints[3].Ejected() {
			t.Error("the endpoint with half of its connections failing was not ejected")
		}
		m.want(t, map[string]uint64{"ejections_detected_local_origin_success_rate": 1, "ejections_detected_success_rate": 0, "ejections_success_rate": 1, "ejections_total": 0})
	})
}

func TestEndpointsThatGoAreNotCounted(t *testing.T) {
	t.Parallel()
	m := newTeam(t, 3, nil)
	m.reports(0, 500, 500, 500, 500, 500)
	m.monitors[0].Forget()
	m.want(t, map[string]uint64{"ejections_active": 0})
	m.reports(0, 500, 500, 500, 500, 500) // of an exchange that goes on
	m.want(t, map[string]uint64{"ejections_active": 0, "ejections_enforced_total": 1})
}

func TestNothingIsDetectedWithoutAConfiguration(t *testing.T) {
	t.Parallel()
	m := newTeam(t, 3, nil)
	m.reports(0, 500, 500, 500, 500, 500)
	m.d.Configure(nil)
	if m.endpoints[0].Ejected() || m.reweighed.Load() != 2 {
		t.Errorf("ejected %v, reweighed %d times", m.endpoints[0].Ejected(), m.reweighed.Load())
	}
	m.reports(1, 500, 500, 500, 500, 500)
	m.want(t, map[string]uint64{"ejections_active": 0, "ejections_enforced_total": 1})
}

func TestSweepsEndWhenThereIsNothingToSweep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newTeam(t, 1, nil)
		m.reports(0, 200)
		time.Sleep(time.Hour) // a timer that went on would keep the bubble from ending
	})
}
