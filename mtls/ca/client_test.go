package ca_test

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	security "istio.io/api/security/v1alpha1"

	"github.com/outrigger-mesh/outrigger/mtls"
	"github.com/outrigger-mesh/outrigger/mtls/ca"
	"github.com/outrigger-mesh/outrigger/mtls/ca/catest"
	"github.com/outrigger-mesh/outrigger/mtls/mtlstest"
	"github.com/outrigger-mesh/outrigger/sock/socktest"
)

// fixture is a CA with the files that a pod has.
type fixture struct {
	authority *mtlstest.CA
	server    *catest.Server
	spec      ca.Spec
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	dir := t.TempDir()
	authority := mtlstest.NewCA(t, "cluster.local")
	f := &fixture{authority: authority, server: catest.Start(t, authority, "secret")}
	f.spec = ca.Spec{
		Address:   f.server.Address,
		RootFile:  filepath.Join(dir, "root-cert.pem"),
		TokenFile: filepath.Join(dir, "istio-token"),
		ClusterID: "Kubernetes",
		Headers:   map[string]string{"X-Team": "shop"},
	}
	write(t, f.spec.RootFile, authority.RootPEM())
	write(t, f.spec.TokenFile, []byte("secret\n"))
	return f
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// sign runs a whole Source against the spec until its first try is over.
func sign(t *testing.T, spec ca.Spec) (*mtls.Material, error) {
	t.Helper()
	client, err := ca.New(spec)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	log := slog.New(slog.DiscardHandler)
	reg := mtls.NewSecrets(log)
	tried := make(chan error, 1)
	source, err := mtls.NewSource(mtls.SourceSpec{
		Workload: mtls.Workload{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "web"},
		Secrets:  reg, Log: log,
		Sign: func(ctx context.Context, csr []byte, lifetime time.Duration) ([]string, error) {
			answer, err := client.Sign(ctx, csr, lifetime)
			if err != nil {
				select {
				case tried <- err:
				default:
				}
			}
			return answer, err
		},
	})
	if err != nil {
		t.Fatalf("NewSource: %v", err)
	}
	cert := reg.Get(mtls.WorkloadCert)
	changed := cert.Changed()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- source.Run(ctx) }()
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	select {
	case <-changed:
	case err = <-tried:
	case <-limit.C:
		t.Error("no answer within a minute")
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	return cert.Load(), err
}

func TestSignSendsWhatIstiodExpects(t *testing.T) {
	f := newFixture(t)
	f.spec.Signer = "example.com/signer"
	m, err := sign(t, f.spec)
	if err != nil {
		t.Fatal(err)
	}
	id := m.Identity()
	if got, want := id.URI(), "spiffe://cluster.local/ns/shop/sa/web"; got != want {
		t.Errorf("identity = %q, want %q", got, want)
	}
	req, header := f.server.Last()
	if got := req.GetValidityDuration(); got != 24*60*60 {
		t.Errorf("validity = %d s", got)
	}
	if got := req.GetMetadata().GetFields()["CertSigner"].GetStringValue(); got != f.spec.Signer {
		t.Errorf("signer = %q", got)
	}
	for key, want := range map[string]string{"authorization": "Bearer secret", "clusterid": "Kubernetes", "x-team": "shop"} {
		if got := header.Get(key); len(got) != 1 || got[0] != want {
			t.Errorf("header %s = %q, want %q", key, got, want)
		}
	}
}

func TestSignReadsTokenAndRootsEachTime(t *testing.T) {
	f := newFixture(t)
	write(t, f.spec.TokenFile, []byte("old"))
	if _, err := sign(t, f.spec); err == nil {
		t.Fatal("old token was accepted")
	}
	write(t, f.spec.TokenFile, []byte("secret"))
	write(t, f.spec.RootFile, mtlstest.NewCA(t, "x").RootPEM())
	if _, err := sign(t, f.spec); err == nil {
		t.Fatal("CA of another mesh was accepted")
	}
	write(t, f.spec.RootFile, f.authority.RootPEM())
	if _, err := sign(t, f.spec); err != nil {
		t.Errorf("with the right files: %v", err)
	}
}

func TestFailureSaysWhatToDo(t *testing.T) {
	nobody := socktest.Deaf(t).String()
	for _, tc := range []struct {
		name  string
		spoil func(t *testing.T, f *fixture)
		want  []string
		code  codes.Code
		cause any
	}{
		{"missing token", func(t *testing.T, f *fixture) {
			if err := os.Remove(f.spec.TokenFile); err != nil {
				t.Fatal(err)
			}
		}, []string{"istio-token", "mount a projected service account token with audience istio-ca"}, codes.Unauthenticated, nil},
		{
			"refused token", func(t *testing.T, f *fixture) { write(t, f.spec.TokenFile, []byte("forged")) },
			[]string{"refused the token in", "istio-token"},
			codes.Unauthenticated, nil,
		},
		{
			"unreachable", func(_ *testing.T, f *fixture) { f.spec.Address = nobody },
			[]string{nobody, "cannot be reached"},
			codes.Unavailable, nil,
		},
		{
			"unknown name", func(_ *testing.T, f *fixture) { f.spec.Address = "istiod.invalid:15012" },
			[]string{"istiod.invalid:15012 does not resolve"},
			codes.Unavailable, nil,
		},
		{
			"wrong root", func(t *testing.T, f *fixture) { write(t, f.spec.RootFile, mtlstest.NewCA(t, "x").RootPEM()) },
			[]string{"root-cert.pem", "not signed by a root", "unknown authority"},
			codes.Unknown, new(x509.UnknownAuthorityError),
		},
		{
			"wrong name", func(_ *testing.T, f *fixture) { f.spec.ServerName = "istiod.other.svc" },
			[]string{"istiod.other.svc", "override the expected name"},
			codes.Unknown, new(x509.HostnameError),
		},
		{"missing root file", func(t *testing.T, f *fixture) {
			if err := os.Remove(f.spec.RootFile); err != nil {
				t.Fatal(err)
			}
		}, []string{"root-cert.pem", "istio-ca-root-cert"}, codes.Unknown, nil},
		{
			"empty root file", func(t *testing.T, f *fixture) { write(t, f.spec.RootFile, nil) },
			[]string{"root-cert.pem", "holds no certificate"},
			codes.Unknown, nil,
		},
		{
			"identity not allowed", func(_ *testing.T, f *fixture) { f.server.FailWith(status.Error(codes.PermissionDenied, "no")) },
			[]string{"does not sign for this identity"},
			codes.PermissionDenied, nil,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			tc.spoil(t, f)
			_, err := sign(t, f.spec)
			var hint *mtls.SignError
			if !errors.As(err, &hint) {
				t.Fatalf("got %v, want a SignError", err)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want it to say %q", err, want)
				}
			}
			if tc.code != codes.Unknown && status.Code(hint.Err) != tc.code {
				t.Errorf("code = %v, want %v", status.Code(hint.Err), tc.code)
			}
			if tc.cause != nil && !errors.As(err, tc.cause) {
				t.Errorf("cause is not a %T: %v", tc.cause, err)
			}
		})
	}
}

func TestServerNameCanBeOverridden(t *testing.T) {
	f := newFixture(t)
	_, port, err := net.SplitHostPort(f.spec.Address)
	if err != nil {
		t.Fatal(err)
	}
	f.spec.Address = net.JoinHostPort("127.0.0.1", port)
	f.spec.ServerName = "istiod.istio-system.svc"
	if _, err := sign(t, f.spec); err != nil {
		t.Error(err)
	}
}

func TestTokenStaysHomeOnPlainText(t *testing.T) {
	f := newFixture(t)
	lis, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	security.RegisterIstioCertificateServiceServer(srv, f.server)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(lis) }()
	t.Cleanup(func() {
		srv.Stop()
		<-done
	})
	f.spec.Address, f.spec.PlainText = lis.Addr().String(), true
	if _, err := sign(t, f.spec); status.Code(errors.Unwrap(err)) != codes.Unauthenticated {
		t.Errorf("without token: %v", err)
	}
	if _, header := f.server.Last(); len(header.Get("authorization")) != 0 || len(header.Get("clusterid")) != 1 {
		t.Errorf("header = %v", header)
	}
	f.spec.TokenInPlainText = true
	if _, err := sign(t, f.spec); err != nil {
		t.Errorf("with token: %v", err)
	}
}
