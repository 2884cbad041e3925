//go:build race

package proxy

import (
	"testing"

	"github.com/outrigger-mesh/outrigger/flow"
)

func TestFinishedExchangeIsSpoilt(t *testing.T) {
	x := newExchange()
	x.Record.Response.Status = 200
	x.poison()
	if x.Record.Response.Status == 200 || x.Record.Details == "" {
		t.Errorf("the record is as it was: %+v", x.Record.Response)
	}
	x.cure()
	if got := x.Record; got.Response != (flow.Response{}) || got.Details != "" {
		t.Errorf("the next use begins with %+v", got)
	}
}
