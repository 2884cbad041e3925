package telemetry_test

import (
	"slices"
	"testing"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/telemetry"
)

type named struct {
	name string
	seen *[]string
}

func (n *named) Observe(*flow.Record) { *n.seen = append(*n.seen, n.name) }

func TestJoinedObserversSeeEachRecordInOrder(t *testing.T) {
	t.Parallel()
	var seen []string
	a, b := &named{"a", &seen}, &named{"b", &seen}
	telemetry.Join(a, nil, b).Observe(&flow.Record{})
	telemetry.Join().Observe(&flow.Record{})
	if want := []string{"a", "b"}; !slices.Equal(seen, want) {
		t.Errorf("got %q, want %q", seen, want)
	}
	if got := telemetry.Join(nil, a); got != flow.Observer(a) {
		t.Errorf("a single observer became %T", got)
	}
}
