package peers

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/outrigger-mesh/outrigger/bench/feed"
	"github.com/outrigger-mesh/outrigger/bench/report"
)

// Outrigger is the product.
type Outrigger struct {
	// Program is its path.
	Program string
	// Build is its version.
	Build string
	// Profiles, if set, is a folder that takes a CPU profile of each process.
	Profiles string
}

// Name is the subject's.
func (*Outrigger) Name() string { return report.Outrigger }

// Version is the one it was built as.
func (o *Outrigger) Version(context.Context) string { return o.Build }

// Supports says yes.
func (*Outrigger) Supports(feed.Hop) error { return nil }

func (o *Outrigger) command(ctx context.Context, e *Env, n *Node, dir string) (Command, error) {
	if err := e.Feed.Add(n.Name, n.Role, n.Hops, filepath.Join(dir, "access.log")); err != nil {
		return Command{}, err
	}
	var ports [3]int
	for i := range ports {
		var err error
		if ports[i], err = e.Ports.Free(ctx); err != nil {
			return Command{}, err
		}
	}
	conf, err := json.Marshal(map[string]any{
		"discoveryAddress": e.Feed.Address(), "proxyAdminPort": ports[0], "concurrency": e.Threads, "terminationDrainDuration": "0s",
	})
	if err != nil {
		return Command{}, err
	}
	env := []string{
		"POD_NAME=" + n.Name, "POD_NAMESPACE=" + n.Role.Namespace(), "SERVICE_ACCOUNT=" + n.Role.Account(), "INSTANCE_IP=127.0.0.1",
		"TRUST_DOMAIN=cluster.local", "CA_ADDR=" + e.Feed.Address(), "ISTIOD_SAN=istiod.istio-system.svc",
		"XDS_ROOT_CA=" + e.Feed.RootFile(), "CA_ROOT_CA=" + e.Feed.RootFile(), "PROXY_CONFIG=" + string(conf),
		fmt.Sprintf("ENVOY_STATUS_PORT=%d", ports[1]), fmt.Sprintf("ENVOY_PROMETHEUS_PORT=%d", ports[2]),
		"ISTIO_META_CLUSTER_ID=Kubernetes", "ISTIO_META_INTERCEPTION_MODE=NONE",
	}
	if o.Profiles != "" {
		env = append(env, "OUTRIGGER_CPU_PROFILE="+filepath.Join(o.Profiles, n.Name+".pprof"))
	}
	return Command{
		Path: o.Program, Args: []string{"proxy", "sidecar", "--domain", n.Role.Namespace() + ".svc.cluster.local"},
		Env: append(env, n.Extra...), Dir: dir,
	}, nil
}
