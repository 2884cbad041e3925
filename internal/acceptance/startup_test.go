package acceptance_test

import (
	"context"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
	"github.com/outrigger-mesh/outrigger/internal/testmesh/pki"
)

const (
	tokenFile = "/var/run/secrets/tokens/istio-token"
	rootFile  = "/var/run/secrets/istio/root-cert.pem"
)

func TestMeshSidecarWithoutWhatItNeedsSaysSoAndHeals(t *testing.T) {
	mesh := town(t)
	other, err := pki.NewCA("another mesh")
	if err != nil {
		t.Fatal(err)
	}
	plain := mesh.PlainPod("plain")
	write := func(t *testing.T, file string, text []byte) {
		t.Helper()
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name, pod  string
		spoil      func(*testing.T, *testmesh.Pod) (heal func())
		log, ready []string // words, one of each "a|b"
	}{
		{"no token", "web-1", func(t *testing.T, p *testmesh.Pod) func() {
			text, err := os.ReadFile(p.File(tokenFile))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(p.File(tokenFile)); err != nil {
				t.Fatal(err)
			}
			return func() { write(t, p.File(tokenFile), text) }
		}, []string{"token", tokenFile, "mount|project"}, []string{"certificate", "token"}},
		{"empty token", "web-2", func(t *testing.T, p *testmesh.Pod) func() {
			text, err := os.ReadFile(p.File(tokenFile))
			if err != nil {
				t.Fatal(err)
			}
			write(t, p.File(tokenFile), nil)
			return func() { write(t, p.File(tokenFile), text) }
		}, []string{"token", tokenFile}, []string{"certificate", "token"}},
		{"a token of nobody", "web-3", func(t *testing.T, p *testmesh.Pod) func() {
			text, err := os.ReadFile(p.File(tokenFile))
			if err != nil {
				t.Fatal(err)
			}
			issuer, err := pki.NewIssuer()
			if err != nil {
				t.Fatal(err)
			}
			forged, err := issuer.Token(pki.ServiceAccount("town", "web"))
			if err != nil {
				t.Fatal(err)
			}
			write(t, p.File(tokenFile), []byte(forged))
			return func() { write(t, p.File(tokenFile), text) }
		}, []string{"token", "refus|reject|Unauthenticated|not accept"}, []string{"certificate"}},
		{"another mesh's root", "solo", func(t *testing.T, p *testmesh.Pod) func() {
			text, err := os.ReadFile(p.File(rootFile))
			if err != nil {
				t.Fatal(err)
			}
			write(t, p.File(rootFile), other.Root())
			return func() { write(t, p.File(rootFile), text) }
		}, []string{"root", "root-cert.pem|istio-ca-root-cert", "istiod"}, []string{"certificate", "root|trust|sign"}},
		{"no root", "script", func(t *testing.T, p *testmesh.Pod) func() {
			text, err := os.ReadFile(p.File(rootFile))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(p.File(rootFile)); err != nil {
				t.Fatal(err)
			}
			return func() { write(t, p.File(rootFile), text) }
		}, []string{"root", "root-cert.pem|istio-ca-root-cert"}, []string{"root"}},
		{"no istiod", "client", func(t *testing.T, _ *testmesh.Pod) func() {
			kill(t, mesh)
			return func() { start(t, mesh) }
		}, []string{"istiod", ":15012", "refused|unreachable|reach"}, []string{"istiod|certificate", "refused|unreachable|reach|connect"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			pod := mesh.Pod(c.pod, testmesh.WithoutStart())
			heal := c.spoil(t, pod)
			if err := pod.StartSidecar(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "readiness answers", func() bool { code, _ := health(plain, pod); return code == http.StatusServiceUnavailable })
			all := func(text string, words []string) (missing string) {
				for _, w := range words {
					if !names(text, w) {
						return w
					}
				}
				return ""
			}
			if !within(soon, func() bool { return all(pod.SidecarLog(), c.log) == "" }) {
				t.Errorf("the log lacks %q:\n%s", all(pod.SidecarLog(), c.log), pod.SidecarLog())
			}
			var why string
			if !within(soon, func() bool { _, why = health(plain, pod); return all(why, c.ready) == "" }) {
				t.Errorf("readiness lacks %q:\n%s", all(why, c.ready), why)
			}
			if got, _ := talk(t, plain, pod.Addr().String()+":8080", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", time.Second); got != "" {
				t.Errorf("an unready sidecar lets traffic in: %q", got)
			}
			// It retries with back-off: neither silent nor a flood.
			before := strings.Count(pod.SidecarLog(), "\n")
			pause(time.Second)
			if n := strings.Count(pod.SidecarLog(), "\n") - before; n > 20 {
				t.Errorf("%d lines of log in a second", n)
			}
			if pod.SidecarPID() == 0 {
				t.Fatalf("the sidecar gave up:\n%s", pod.SidecarLog())
			}
			heal()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			began := time.Now()
			if err := pod.Ready(ctx); err != nil {
				t.Fatalf("it does not heal: %v", err)
			}
			t.Logf("healed after %v", time.Since(began))
			if token, err := os.ReadFile(pod.File(tokenFile)); err != nil || strings.Contains(pod.SidecarLog(), string(token)) {
				t.Errorf("the token is in the log, or lost: %v", err)
			}
		})
	}
}
