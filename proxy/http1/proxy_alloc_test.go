//go:build !race

package http1_test

import (
	"bufio"
	"testing"

	"github.com/outrigger-mesh/outrigger/proxy/http1"
)

func TestExchangesDoNotAllocate(t *testing.T) {
	down, up := proxied(t, http1.ServerOptions{})
	go echo(up, benchResponse)
	br := bufio.NewReader(down)
	once := func() {
		if _, err := down.Write(benchRequest); err != nil {
			t.Fatal(err)
		}
		if err := skipResponse(br, 1024); err != nil {
			t.Fatal(err)
		}
	}
	once()
	if got := testing.AllocsPerRun(500, once); got > 0 {
		t.Errorf("%v allocations per exchange, want none", got)
	}
}
