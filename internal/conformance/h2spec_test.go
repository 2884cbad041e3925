package conformance_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
	"github.com/outrigger-mesh/outrigger/internal/testmesh/build"
)

// Numbers of cases, so that none is lost unnoticed.
const (
	h2specServerCases = 149
	h2specClientCases = 57
)

// firstCase is the port of the first case for clients.
const firstCase = 30000

// h2specResult is a line that the program prints.
type h2specResult struct {
	ID, Title, Result, Wanted string
	Expected                  []string
	Actual                    string
}

func TestMeshH2specDownstream(t *testing.T) {
	h2spec := h2specProgram(t)
	mesh := hall(t)
	server := mesh.Pod("server")
	outside := mesh.PlainPod("outside")
	addr := server.Addr().String() + ":8080"
	check := func(t *testing.T, flags ...string) {
		argv := append([]string{h2spec, "-addr=" + addr, "-path=/"}, flags...)
		report(t, h2specServerCases, execute(t, outside, append(argv, "server")...))
	}

	t.Run("clear text", func(t *testing.T) { check(t) })
	t.Run("mutual TLS", func(t *testing.T) {
		requireTLS(t, mesh, outside, addr)
		cert, key := certificate(t, mesh, "spiffe://cluster.local/ns/hall/sa/outside")
		check(t, "-tls", "-alpn=istio-h2,istio,h2", "-cert="+cert, "-key="+key)
	})
}

func TestMeshH2specUpstream(t *testing.T) {
	h2spec := h2specProgram(t)
	mesh := hall(t)
	caller := mesh.Pod("caller")
	outside := mesh.PlainPod("outside")
	if err := mesh.Apply("h2spec.yaml", outsideService("h2spec", "10.96.3.9", outside, firstCase, h2specClientCases)); err != nil {
		t.Fatal(err)
	}
	knows(t, caller, "h2spec", firstCase+h2specClientCases-1)

	t.Run("clear text", func(t *testing.T) { checkUpstream(t, caller, outside, h2spec) })
	t.Run("mutual TLS", func(t *testing.T) {
		policy(t, mesh, "mutual.yaml", mutual)
		eventually(t, "the caller speaks mutual TLS", func() bool {
			return strings.Contains(string(caller.Admin("/config_dump").Body), fmt.Sprintf("outbound_.%d_._.h2spec", firstCase)) // the name it asks for
		})
		cert, key := certificate(t, mesh, "spiffe://cluster.local/ns/hall/sa/outside")
		checkUpstream(t, caller, outside, h2spec, "-tls", "-cert="+cert, "-key="+key)
	})
	if r := caller.Admin("/ready"); r.Status != 200 {
		t.Errorf("afterwards: got %v", r)
	}
}

// mutual has callers of h2spec speak mutual TLS.
const mutual = `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: h2spec, namespace: hall }
spec: { host: h2spec.hall.svc.cluster.local, trafficPolicy: { tls: { mode: ISTIO_MUTUAL } } }
`

// checkUpstream runs the cases for clients in a pod outside and has the caller's
// sidecar meet them.
func checkUpstream(t *testing.T, caller, outside *testmesh.Pod, h2spec string, flags ...string) {
	t.Helper()
	var out string
	var ran sync.WaitGroup
	argv := append([]string{h2spec, fmt.Sprintf("-port=%d", firstCase), "-limit=30s"}, flags...)
	ran.Go(func() { out = execute(t, outside, append(argv, "client")...) })
	eventually(t, "h2spec listens", func() bool { // on the last port; that case's connection must be the caller's
		text, err := outside.Exec(t.Context(), 0, "ss", "-Hltn", "sport", "=", fmt.Sprintf(":%d", firstCase+h2specClientCases-1))
		return err == nil && text != ""
	})
	limit := make(chan struct{}, 8)
	var calls sync.WaitGroup
	for i := range h2specClientCases {
		calls.Go(func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			caller.Get(fmt.Sprintf("http://h2spec:%d/", firstCase+i)) // most get no good response
		})
	}
	calls.Wait()
	ran.Wait()
	report(t, h2specClientCases, out)
}

func h2specProgram(t *testing.T) string {
	t.Helper()
	return filepath.Join(tools(t, build.Tool{Name: "h2spec", Module: h2specModule, Package: "."}), "h2spec")
}

// execute runs a program in a pod and returns what it prints.
func execute(t *testing.T, pod *testmesh.Pod, argv ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	out, err := pod.Exec(ctx, 0, argv...)
	if err != nil {
		t.Error(err)
	}
	return out
}

// report names the cases that failed and those that were left out.
func report(t *testing.T, want int, lines string) {
	t.Helper()
	count := map[string]int{}
	for line := range strings.Lines(lines) {
		var r h2specResult
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Errorf("%v: %q", err, line)
			continue
		}
		if r.ID == "" {
			continue // says that it listens
		}
		count[r.Result]++
		switch r.Result {
		case "fail":
			t.Errorf("%s fails: %s\n\t%s\n\tgot  %s\n\twant %s", r.ID, r.Title, r.Wanted, r.Actual, strings.Join(r.Expected, ", or "))
		case "skip":
			t.Logf("%s is skipped: %s", r.ID, r.Title)
		}
	}
	t.Logf("%d cases passed, %d failed, %d skipped", count["pass"], count["fail"], count["skip"])
	if got := count["pass"] + count["fail"] + count["skip"]; got != want {
		t.Errorf("got %d results, want %d", got, want)
	}
}
