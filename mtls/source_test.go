package mtls_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outrigger-mesh/outrigger/mtls"
	"github.com/outrigger-mesh/outrigger/mtls/mtlstest"
)

func shopWeb() mtls.Workload {
	return mtls.Workload{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "web"}
}

func newSource(t *testing.T, spec mtls.SourceSpec) *mtls.Source {
	t.Helper()
	if spec.Log == nil {
		spec.Log = quiet()
	}
	spec.Workload = shopWeb()
	s, err := mtls.NewSource(spec)
	if err != nil {
		t.Fatalf("NewSource: %v", err)
	}
	return s
}

func TestSourceRotatesHalfWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, reg := mtlstest.NewCA(t, "cluster.local"), mtls.NewSecrets(quiet())
		s := newSource(t, mtls.SourceSpec{Sign: ca.Sign, Secrets: reg})
		if ok, reason := s.Ready(); ok || reason != "no workload certificate yet" {
			t.Errorf("before Run: %v, %q", ok, reason)
		}
		start := time.Now()
		run(t, s.Run)
		cert := reg.Get(mtls.WorkloadCert)
		if err := cert.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if ok, reason := s.Ready(); !ok {
			t.Errorf("not ready: %s", reason)
		}
		first := cert.Load()
		if id := first.Identity(); id.URI() != web || len(first.Certificates()) != 1 {
			t.Errorf("identity = %v", id)
		}
		if got := reg.Get(mtls.WorkloadRoots).Load(); got == nil || !bytes.Equal(got.PEM, ca.RootPEM()) {
			t.Errorf("roots = %v", got)
		}
		<-cert.Changed()
		after := time.Since(start)
		if after < 11*time.Hour+40*time.Minute || after > 12*time.Hour+20*time.Minute {
			t.Errorf("rotated after %v, want about 12 h", after)
		}
		if cert.Load().Identity().Hash == first.Identity().Hash {
			t.Error("rotation kept the certificate")
		}
	})
}

func TestSourceSendsNoRootsAndIgnoresBackdating(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := mtlstest.NewCA(t, "cluster.local")
		ca, reg := root.Intermediate(), mtls.NewSecrets(quiet())
		var times []time.Time
		s := newSource(t, mtls.SourceSpec{
			Secrets: reg, Lifetime: 2 * time.Minute,
			Sign: func(ctx context.Context, csr []byte, lifetime time.Duration) ([]string, error) {
				times = append(times, time.Now())
				answer, err := ca.Sign(ctx, csr, lifetime)
				return []string{answer[0], string(root.RootPEM()), answer[1]}, err
			},
		})
		run(t, s.Run)
		cert := reg.Get(mtls.WorkloadCert)
		if err := cert.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := cert.Load().Certificates(); len(got) != 2 || got[1].Subject.CommonName != "intermediate" {
			t.Errorf("chain of %d certificates", len(got))
		}
		<-cert.Changed()
		if gap := times[1].Sub(times[0]); gap < 58*time.Second || gap > 62*time.Second {
			t.Errorf("rotated after %v, want about 1 min", gap)
		}
	})
}

func TestSourceRetriesAndKeepsWhatItHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, reg := mtlstest.NewCA(t, "cluster.local"), mtls.NewSecrets(quiet())
		var log bytes.Buffer
		var broken atomic.Bool
		var tries atomic.Int64
		s := newSource(t, mtls.SourceSpec{
			Secrets: reg, Lifetime: time.Hour, TryTimeout: time.Second,
			Log: slog.New(slog.NewTextHandler(&log, nil)),
			Sign: func(ctx context.Context, csr []byte, lifetime time.Duration) ([]string, error) {
				tries.Add(1)
				if broken.Load() {
					<-ctx.Done()
					return nil, &mtls.SignError{Hint: "the CA is away: start it", Err: ctx.Err()}
				}
				return ca.Sign(ctx, csr, lifetime)
			},
		})
		broken.Store(true)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		time.Sleep(10 * time.Minute)
		if ok, reason := s.Ready(); ok || !strings.Contains(reason, "the CA is away: start it") {
			t.Errorf("while broken: %v, %q", ok, reason)
		}
		if got := tries.Load(); got < 15 || got > 60 {
			t.Errorf("%d tries in ten minutes", got)
		}
		broken.Store(false)
		cert := reg.Get(mtls.WorkloadCert)
		if err := cert.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		held := cert.Load()
		broken.Store(true)
		time.Sleep(45 * time.Minute)
		if ok, reason := s.Ready(); !ok || cert.Load() != held {
			t.Errorf("broken at rotation: %v, %q", ok, reason)
		}
		time.Sleep(20 * time.Minute)
		if ok, reason := s.Ready(); ok || !strings.Contains(reason, "expired at") {
			t.Errorf("broken past expiry: %v, %q", ok, reason)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if !strings.Contains(log.String(), `hint="the CA is away: start it"`) {
			t.Errorf("log lacks the hint: %s", log.String())
		}
	})
}

func TestSourceMergesMountedRoots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, old, next := mtlstest.NewCA(t, "cluster.local"), mtlstest.NewCA(t, "cluster.local"), mtlstest.NewCA(t, "cluster.local")
		path := filepath.Join(t.TempDir(), "root-cert.pem")
		write(t, path, append(old.RootPEM(), ca.RootPEM()...))
		reg := mtls.NewSecrets(quiet())
		s := newSource(t, mtls.SourceSpec{Sign: ca.Sign, Secrets: reg, RootFile: path})
		run(t, reg.Run)
		run(t, s.Run)
		roots := reg.Get(mtls.WorkloadRoots)
		if err := roots.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := len(roots.Load().Certificates()); got != 2 {
			t.Errorf("%d roots, want the CA's and the mounted one", got)
		}
		changed := roots.Changed()
		write(t, path+".new", next.RootPEM())
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
		<-changed
		if got, want := roots.Load().PEM, append(ca.RootPEM(), next.RootPEM()...); !bytes.Equal(got, want) {
			t.Errorf("roots after the mounted ones changed: %s", got)
		}
	})
}

func TestSourceRefusesBadAnswers(t *testing.T) {
	ca := mtlstest.NewCA(t, "cluster.local")
	stale := ca.Issue(web, time.Hour)
	for _, tc := range []struct {
		name   string
		answer []string
		want   string
	}{
		{"nothing", nil, "0 certificates"},
		{"no root", []string{string(stale.PEM)}, "1 certificates"},
		{"another key's certificate", []string{string(stale.PEM), string(ca.RootPEM())}, "private key does not match"},
		{"no PEM", []string{"x", "y"}, "no certificate"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				reg := mtls.NewSecrets(quiet())
				s := newSource(t, mtls.SourceSpec{Secrets: reg, Sign: func(context.Context, []byte, time.Duration) ([]string, error) {
					return tc.answer, nil
				}})
				run(t, s.Run)
				synctest.Wait()
				ok, reason := s.Ready()
				if ok || !strings.Contains(reason, tc.want) || reg.Get(mtls.WorkloadCert).Load() != nil {
					t.Errorf("ready %v, reason %q, want %q", ok, reason, tc.want)
				}
			})
		})
	}
}

func TestSigningRequestHasCriticalNameAndNoSubject(t *testing.T) {
	for _, kind := range []mtls.KeyKind{mtls.ECDSAP256, mtls.ECDSAP384, mtls.RSA2048} {
		synctest.Test(t, func(t *testing.T) {
			var req *x509.CertificateRequest
			s := newSource(t, mtls.SourceSpec{Secrets: mtls.NewSecrets(quiet()), Key: kind, Sign: func(_ context.Context, csr []byte, _ time.Duration) ([]string, error) {
				block, _ := pem.Decode(csr)
				req, _ = x509.ParseCertificateRequest(block.Bytes)
				return nil, errors.New("stop")
			}})
			run(t, s.Run)
			synctest.Wait()
			if req == nil || req.CheckSignature() != nil {
				t.Fatal("no valid signing request")
			}
			if len(req.Subject.Names) != 0 || len(req.URIs) != 1 || req.URIs[0].String() != web {
				t.Errorf("subject %v, URIs %v", req.Subject, req.URIs)
			}
			if len(req.Extensions) != 1 || !req.Extensions[0].Critical {
				t.Errorf("extensions %v", req.Extensions)
			}
		})
	}
}

func TestSourceRejectsImpossibleIdentity(t *testing.T) {
	for _, w := range []mtls.Workload{{}, {TrustDomain: "a", Namespace: "b/c?d", ServiceAccount: "e"}, {TrustDomain: "a", Namespace: "b"}} {
		if _, err := mtls.NewSource(mtls.SourceSpec{Workload: w, Log: quiet(), Secrets: mtls.NewSecrets(quiet()), Sign: mtlstest.NewCA(t, "a").Sign}); err == nil {
			t.Errorf("%q was accepted", w.SPIFFE())
		}
	}
}
