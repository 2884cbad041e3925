package testmesh

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh/netns"
)

// MustEnv names the variable that, set to 1, makes tests fail where they would
// skip for want of root or namespaces.
const MustEnv = "OUTRIGGER_MUST_MESH"

// BinEnv names a folder with the product's binaries, used where Config.BinDir is
// empty: those of a build with the race detector, say.
const BinEnv = "OUTRIGGER_BIN_DIR"

// Option changes the configuration of a mesh made by Start.
type Option func(*Config)

// WithMeshConfig replaces DefaultMeshConfig.
func WithMeshConfig(text string) Option { return func(c *Config) { c.MeshConfig = text } }

// WithIstiodEnv sets environment variables of istiod, as NAME=value.
func WithIstiodEnv(env ...string) Option {
	return func(c *Config) { c.IstiodEnv = append(c.IstiodEnv, env...) }
}

// WithSidecarEnv sets environment variables of all sidecars, as NAME=value.
func WithSidecarEnv(env ...string) Option {
	return func(c *Config) { c.SidecarEnv = append(c.SidecarEnv, env...) }
}

// WithCertTTL makes istiod issue workload certificates of that lifetime, and
// sidecars ask for no more: istiod refuses what is above its maximum.
func WithCertTTL(ttl time.Duration) Option {
	return func(c *Config) {
		WithIstiodEnv("DEFAULT_WORKLOAD_CERT_TTL="+ttl.String(), "MAX_WORKLOAD_CERT_TTL="+ttl.String())(c)
		WithSidecarEnv("SECRET_TTL=" + ttl.String())(c)
	}
}

// WithConfig changes the configuration in any way.
func WithConfig(change func(*Config)) Option { return change }

// startTimeout bounds the start, a first build of istiod included.
const startTimeout = 15 * time.Minute

// Start brings up a mesh for a test from a folder of YAML, which may be empty,
// and closes it when the test ends. Where a mesh is impossible the test is
// skipped, or failed if MustEnv is 1. When the test fails, the last lines of
// all logs are shown.
func Start(tb testing.TB, dir string, opts ...Option) *Mesh {
	tb.Helper()
	Require(tb)
	c := Config{Dir: dir, BinDir: os.Getenv(BinEnv), Progress: func(line string) { tb.Helper(); tb.Log(line) }}
	c.WorkDir = filepath.Join(tb.TempDir(), "mesh")
	for _, opt := range opts {
		opt(&c)
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	m, err := Up(ctx, c)
	if err != nil {
		tb.Fatalf("start mesh: %v", err)
	}
	m.tb = tb
	tb.Cleanup(func() {
		if tb.Failed() {
			m.dump(tb)
		}
		if err := m.Close(); err != nil {
			tb.Errorf("close mesh: %v", err)
		}
	})
	return m
}

// Require skips the test where no mesh can be brought up, or fails it if MustEnv
// is 1.
func Require(tb testing.TB) {
	tb.Helper()
	err := Missing()
	if err == nil {
		return
	}
	if os.Getenv(MustEnv) == "1" {
		tb.Fatalf("%v (and %s=1 forbids to skip)", err, MustEnv)
	}
	tb.Skipf("needs a test mesh: %v", err)
}

// dump shows the end of every log.
func (m *Mesh) dump(tb testing.TB) {
	logs, err := filepath.Glob(m.LogFile("*"))
	if err != nil {
		tb.Log(err)
	}
	for _, log := range logs {
		tb.Log(tail(log))
	}
}

// Missing returns why no mesh can be brought up here, or nil.
func Missing() error {
	if os.Geteuid() != 0 {
		return errors.New("not root")
	}
	for _, f := range []string{"/dev/null", "/proc/self/ns/net", "/proc/self/ns/mnt"} {
		if _, err := os.Stat(f); err != nil {
			return err
		}
	}
	name, err := runName()
	if err != nil {
		return err
	}
	ns, err := netns.Create(name)
	if err != nil {
		return fmt.Errorf("no network namespaces: %w", err)
	}
	unable := ns.AddBridge(bridge)
	if err := errors.Join(ns.Close(), netns.Remove(name)); err != nil {
		return err
	}
	if unable != nil {
		return fmt.Errorf("no bridges: %w", unable)
	}
	return nil
}
