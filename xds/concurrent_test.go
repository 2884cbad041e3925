package xds_test

import (
	"fmt"
	"strconv"
	"sync"
	"testing"

	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/xds"
	"github.com/outrigger-mesh/outrigger/xds/wire"
)

func TestReadersSeeWholeResourcesWhileTheyAreReplaced(t *testing.T) {
	s := newStore(t)
	version := func(round int) *discovery.Resource {
		rc := &route.RouteConfiguration{Name: "80"}
		for i := range 300 {
			rc.VirtualHosts = append(rc.VirtualHosts, &route.VirtualHost{
				Name: fmt.Sprintf("h%d", i), Domains: []string{fmt.Sprintf("h%d.example", i)},
				RequestHeadersToRemove: []string{strconv.FormatUint(uint64(round*300+i)*0x9e3779b97f4a7c15, 16)},
			})
		}
		return resource(t, "80", rc)
	}
	apply(t, s, xds.TypeRoute, nil, version(0))
	done := make(chan struct{})
	var wg sync.WaitGroup
	for g := range 3 {
		wg.Go(func() {
			var buf []byte
			for i := g; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				host := fmt.Sprintf("h%d", i%300)
				ref, ok := s.Lookup("80", host+".example")
				if !ok {
					t.Errorf("%s is not found", host)
					return
				}
				if buf, ok = s.VHost(buf[:0], ref); ok && string(wire.Name(buf)) != host {
					t.Errorf("got %q, want %s", wire.Name(buf), host)
					return
				}
				if i%50 == 0 {
					b, _ := s.Raw(xds.TypeRoute, "80")
					if err := proto.Unmarshal(b, &route.RouteConfiguration{}); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	for round := range 60 {
		apply(t, s, xds.TypeRoute, nil, version(round+1))
	}
	close(done)
	wg.Wait()
}
