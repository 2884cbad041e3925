package netns_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/outrigger-mesh/outrigger/internal/testmesh/netns"
)

func create(t *testing.T, name string) *netns.Namespace {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	ns, err := netns.Create(fmt.Sprintf("outrigger-unit-%d-%s", os.Getpid(), name))
	if err != nil {
		t.Skipf("no network namespaces here: %v", err)
	}
	t.Cleanup(func() {
		if err := errors.Join(ns.Close(), netns.Remove(ns.Name())); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(ns.Path()); err == nil {
			t.Errorf("%s is still there", ns.Path())
		}
	})
	return ns
}

func TestDoSeesOnlyTheNamespaceAndLeavesNoThreadInIt(t *testing.T) {
	ns := create(t, "do")
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			err := ns.Do(func() error {
				links, err := net.Interfaces()
				if err == nil && len(links) != 1 {
					err = fmt.Errorf("got %d interfaces, want the loopback alone", len(links))
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	inside, err := os.Stat(ns.Path())
	if err != nil {
		t.Fatal(err)
	}
	threads, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range threads {
		if fi, err := os.Stat(path); err == nil && os.SameFile(fi, inside) {
			t.Errorf("%s is still inside", path)
		}
	}
}

func TestErrorOfDoComesBack(t *testing.T) {
	ns := create(t, "err")
	want := errors.New("no")
	if got := ns.Do(func() error { return want }); !errors.Is(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestListenerStaysInTheNamespace(t *testing.T) {
	ns := create(t, "listen")
	if err := ns.LoopbackUp(); err != nil {
		t.Fatal(err)
	}
	l, err := ns.Listen(t.Context(), "tcp", "127.0.0.1:7")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if c, err := ns.Dial(t.Context(), "tcp", "127.0.0.1:7"); err != nil {
		t.Errorf("dial inside: %v", err)
	} else if err := c.Close(); err != nil {
		t.Error(err)
	}
}
