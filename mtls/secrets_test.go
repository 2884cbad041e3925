package mtls_test

import (
	"context"
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outrigger-mesh/outrigger/mtls"
	"github.com/outrigger-mesh/outrigger/mtls/mtlstest"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// run starts f and joins it when the test ends.
func run(t *testing.T, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestSecretsAreCreatedOnceAndFilledLater(t *testing.T) {
	reg := mtls.NewSecrets(quiet())
	s := reg.Get("kubernetes://shop")
	if s.Load() != nil || s.Generation() != 0 || reg.Get("kubernetes://shop") != s {
		t.Fatalf("fresh secret: %v", s.Load())
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := s.Wait(ctx); err == nil || !strings.Contains(err.Error(), "kubernetes://shop") {
		t.Errorf("wait for nothing: %v", err)
	}
	changed := s.Changed()
	m := mtlstest.NewCA(t, "x").Trust()
	if !s.Update(m) || s.Load() != m || s.Generation() != 1 {
		t.Errorf("update did not take")
	}
	<-changed
	if err := s.Wait(t.Context()); err != nil {
		t.Errorf("wait: %v", err)
	}
	again, err := mtls.NewTrust(m.PEM)
	if err != nil {
		t.Fatal(err)
	}
	if s.Update(again) || s.Load() != m {
		t.Error("equal certificates replaced the material")
	}
}

func TestFileSecretsFollowSymlinkSwaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, dir := mtlstest.NewCA(t, "cluster.local"), t.TempDir()
		volume := func(name string) {
			sub := filepath.Join(dir, name)
			if err := os.Mkdir(sub, 0o700); err != nil {
				t.Fatal(err)
			}
			chain, key := ca.IssuePEM(uris(web))
			write(t, filepath.Join(sub, "cert.pem"), chain)
			write(t, filepath.Join(sub, "key.pem"), key)
			tmp := filepath.Join(dir, "..tmp")
			if err := os.Symlink(sub, tmp); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(tmp, filepath.Join(dir, "..data")); err != nil {
				t.Fatal(err)
			}
		}
		volume("one")
		reg := mtls.NewSecrets(quiet())
		run(t, reg.Run)
		s := reg.Get("file-cert:" + dir + "/..data/cert.pem~" + dir + "/..data/key.pem")
		first := s.Load()
		if first == nil {
			t.Fatalf("not loaded: %v", s.Err())
		}
		changed := s.Changed()
		volume("two")
		<-changed
		if s.Load() == first {
			t.Error("material is the old one")
		}
	})
}

func TestHalfWrittenPairKeepsTheOldOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, dir := mtlstest.NewCA(t, "cluster.local"), t.TempDir()
		cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
		reg := mtls.NewSecrets(quiet())
		run(t, reg.Run)
		s := reg.Bind(mtls.WorkloadCert, "file-cert:"+cert+"~"+key)
		if s.Load() != nil || s.Err() == nil {
			t.Fatal("loaded from files that do not exist")
		}
		chainPEM, keyPEM := ca.IssuePEM(uris(web))
		write(t, cert, chainPEM)
		write(t, key, keyPEM)
		if err := s.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		first := s.Load()
		chainPEM, keyPEM = ca.IssuePEM(uris(web))
		write(t, cert, chainPEM)
		time.Sleep(3 * time.Second)
		if s.Load() != first || s.Err() == nil {
			t.Errorf("half-written pair: changed %v, error %v", s.Load() != first, s.Err())
		}
		write(t, key, keyPEM)
		time.Sleep(3 * time.Second)
		if s.Load() == first || s.Err() != nil {
			t.Errorf("whole pair: changed %v, error %v", s.Load() != first, s.Err())
		}
		if err := os.Remove(key); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		if s.Load() == nil || s.Err() == nil {
			t.Errorf("removed key: material %v, error %v", s.Load(), s.Err())
		}
	})
}

func TestMalformedFileNamesSayWhatIsWanted(t *testing.T) {
	reg := mtls.NewSecrets(quiet())
	for _, name := range []string{"file-cert:/a", "file-cert:~/b", "file-root:"} {
		if s := reg.Get(name); s.Err() == nil || !strings.Contains(s.Err().Error(), "want file-") {
			t.Errorf("%s: %v", name, s.Err())
		}
	}
	if got := len(reg.All()); got != 3 {
		t.Errorf("%d secrets, want 3", got)
	}
}

func TestTrustBundle(t *testing.T) {
	one, two := mtlstest.NewCA(t, "a").RootPEM(), mtlstest.NewCA(t, "b").RootPEM()
	odd := []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
	for _, tc := range []struct {
		name    string
		in      [][]byte
		want    int
		skipped int
		fails   bool
	}{
		{name: "two and a repeated one", in: [][]byte{one, two, one}, want: 2},
		{name: "comments and an unreadable one", in: [][]byte{[]byte("# roots\n"), odd, two}, want: 1, skipped: 1},
		{name: "cut short", in: [][]byte{one, two[:len(two)/2]}, fails: true},
		{name: "empty", fails: true},
		{name: "unreadable only", in: [][]byte{odd}, fails: true},
	} {
		var in []byte
		for _, b := range tc.in {
			in = append(in, b...)
		}
		m, err := mtls.NewTrust(in)
		if (err != nil) != tc.fails {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if err == nil && (len(m.Certificates()) != tc.want || m.Skipped != tc.skipped || !m.Trust()) {
			t.Errorf("%s: %d certificates, %d skipped", tc.name, len(m.Certificates()), m.Skipped)
		}
	}
}

func TestKeyPairShowsNoKey(t *testing.T) {
	m := mtlstest.NewCA(t, "x").Intermediate().IssueWith(func(c *x509.Certificate) { c.DNSNames = []string{"a"} })
	if strings.Contains(string(m.PEM), "KEY-----") || len(m.Certificates()) != 2 {
		t.Errorf("PEM = %s", m.PEM)
	}
	key, err := m.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	again, err := mtls.NewKeyPair(m.PEM, key)
	if err != nil || again.Fingerprint != m.Fingerprint {
		t.Errorf("read back: %v", err)
	}
}
