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

func TestAliveDoesNotAllocate(t *testing.T) {
	c, _ := upstream(t)
	if got := testing.AllocsPerRun(100, func() { c.Alive() }); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

func TestUploadsThatAreThereDoNotAllocate(t *testing.T) {
	down, up := proxied(t, http1.ServerOptions{})
	go echo(up, benchResponse)
	br := bufio.NewReader(down)
	post := []byte("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello")
	once := func() {
		if _, err := down.Write(post); err != nil {
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
