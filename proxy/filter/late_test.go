package filter_test

import (
	"context"
	"testing"
	"unique"

	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/proxy/filter"
)

func TestRequestsWaitForALateFilter(t *testing.T) {
	t.Parallel()
	name := unique.Make("module")
	for _, c := range []struct {
		name  string
		await func(l *filter.Late)
		want  int
		flags string
	}{
		{"nothing comes", func(*filter.Late) {}, 500, "NFCF"},
		{"nothing is to be done", func(l *filter.Late) { l.Publish(nil) }, 200, "-"},
		{"it says no", func(l *filter.Late) { l.Publish(filter.Closed{}) }, 500, "-"},
	} {
		records := make(seen, 1)
		var l *filter.Late
		l = filter.NewLate(func(context.Context) { c.await(l) })
		addr := filtered(t, direct(), proxy.Installed{Name: name, Filter: l}, records)
		for range 2 {
			resp, body, rec := ask(t, addr, records, "GET / HTTP/1.1\r\nhost: a")
			if resp.StatusCode != c.want || rec.Flags.String() != c.flags || c.want == 500 && body != "" {
				t.Errorf("%s: got %d %q with %s", c.name, resp.StatusCode, body, rec.Flags)
			}
		}
	}
}
