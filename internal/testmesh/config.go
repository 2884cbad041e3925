package testmesh

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/outrigger-mesh/outrigger/internal/testmesh/build"
)

// Config says what mesh to bring up. The zero value is a mesh without services.
type Config struct {
	Dir string // folder of YAML objects, Istio's and Kubernetes'; copied
	FS  fs.FS  // the same, embedded; used if Dir is empty

	MeshConfig string   // YAML; empty: DefaultMeshConfig
	IstiodEnv  []string // NAME=value, overruling ours
	Istiod     string   // path of a pilot-discovery; empty: built and cached

	SidecarEnv []string // NAME=value, for every sidecar; a pod's own overrule them

	BinDir string // folder with outrigger and outrigger-init; empty: built at the first sidecar

	WorkDir string // for files and logs; must not exist. Empty: a temporary folder
	Keep    bool   // Close leaves WorkDir in place

	Progress func(string) // receives a line for each step, one at a time; may be nil
}

// DefaultMeshConfig has access logs and tracing off and lets unknown hosts pass.
const DefaultMeshConfig = `trustDomain: cluster.local
accessLogFile: ""
enableTracing: false
outboundTrafficPolicy: { mode: ALLOW_ANY }
defaultConfig:
  discoveryAddress: istiod.istio-system.svc:15012
`

func (c *Config) say(format string, args ...any) {
	if c.Progress != nil {
		c.Progress(fmt.Sprintf(format, args...))
	}
}

// oneAtATime returns f for callers that work at the same time.
func oneAtATime(f func(string)) func(string) {
	if f == nil {
		return nil
	}
	var mu sync.Mutex
	return func(line string) {
		mu.Lock()
		defer mu.Unlock()
		f(line)
	}
}

func (c *Config) source() fs.FS {
	if c.Dir != "" {
		return os.DirFS(c.Dir)
	}
	return c.FS
}

// programs are the binaries a mesh runs.
type programs struct {
	istiod string
	helper string // meshpod
}

// findPrograms builds what is not there, istiod beside our own.
func (c *Config) findPrograms(ctx context.Context) (*programs, error) {
	p := &programs{istiod: c.Istiod}
	b := build.Builder{Progress: c.Progress}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		dir, err := b.Programs(ctx, "internal/testmesh/cmd/meshpod")
		p.helper = filepath.Join(dir, "meshpod")
		return err
	})
	if c.Istiod == "" {
		g.Go(func() (err error) {
			p.istiod, err = b.Istiod(ctx)
			return err
		})
	}
	return p, g.Wait()
}

// buildProduct builds the two binaries that pods need and returns their folder.
func (c *Config) buildProduct(ctx context.Context) (string, error) {
	c.say("building outrigger and outrigger-init")
	b := build.Builder{Progress: c.Progress}
	return b.Programs(ctx, "cmd/outrigger", "cmd/outrigger-init")
}

// meshes counts the meshes of this process, so that their names differ.
var meshes atomic.Uint64 //nolint:gochecknoglobals // names must be unique in the process

// runName names a mesh after its owner: process id and, since ids come again,
// the time that process started.
func runName() (string, error) {
	start, err := startTime(os.Getpid())
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s%d-%s-%d", runPrefix, os.Getpid(), start, meshes.Add(1)), nil
}

// runPrefix begins everything we leave outside of the work folder.
const runPrefix = "outrigger-"

// startTime returns when a process started, in the kernel's ticks since boot.
func startTime(pid int) (string, error) {
	fields, err := stat(pid, startField)
	if err != nil {
		return "", err
	}
	return fields[0], nil
}

// Fields of a process's stat, numbered as in proc(5).
const (
	userField   = 14
	systemField = 15
	startField  = 22
)

// stat returns some fields of a process's stat.
func stat(pid int, numbers ...int) ([]string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	_, rest, _ := strings.Cut(string(b), ") ") // the name before it may hold anything
	all := strings.Fields(rest)
	var out []string
	for _, n := range numbers {
		if n -= 3; n >= len(all) { // two are cut off
			return nil, fmt.Errorf("malformed stat of process %d", pid)
		}
		out = append(out, all[n])
	}
	return out, nil
}
