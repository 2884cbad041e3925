package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
)

// meshConfig has access logs off, and says how they look where a step has them
// turned on.
const meshConfig = testmesh.DefaultMeshConfig + `accessLogEncoding: JSON
accessLogFormat: |
  {"demo": "yes", "cluster": "%UPSTREAM_CLUSTER%", "downstream": "%DOWNSTREAM_PEER_URI_SAN%",
   "upstream": "%UPSTREAM_PEER_URI_SAN%", "received": "%BYTES_RECEIVED%", "sent": "%BYTES_SENT%"}
`

// logged is a line of the access log.
type logged struct {
	Demo       string `json:"demo"`
	Cluster    string `json:"cluster"`
	Downstream string `json:"downstream"` // identity of the peer that connected to the sidecar
	Upstream   string `json:"upstream"`   // identity of the peer that the sidecar connected to
	Received   any    `json:"received"`
	Sent       any    `json:"sent"`
}

const accessLogFile = "access-log"

const accessLogOn = `apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: { name: access-log, namespace: shop }
spec: { accessLogging: [{ providers: [{ name: envoy }] }] }
`

// withAccessLog turns access logs on for the shop while f runs.
func (d *demo) withAccessLog(f func() error) error {
	if err := d.mesh.Apply(accessLogFile, accessLogOn); err != nil {
		return err
	}
	return errors.Join(f(), d.mesh.Delete(accessLogFile))
}

// awaitLogged repeats act until the sidecar of the pod has logged a connection or
// request whose cluster has this part in its name, and returns that line.
func awaitLogged(ctx context.Context, pod *testmesh.Pod, part string, act func() error) (*logged, error) {
	before := len(pod.SidecarLog())
	var found *logged
	var failed error
	err := until(ctx, 5*time.Second, fmt.Sprintf("an access log of %s for %s", pod.Name(), part), func() bool {
		if failed = act(); failed != nil {
			return true
		}
		found = lastLogged(pod.SidecarLog()[before:], part)
		return found != nil
	})
	return found, errors.Join(failed, err)
}

func lastLogged(text, part string) *logged {
	var found *logged
	for line := range strings.Lines(text) {
		var l logged
		if json.Unmarshal([]byte(line), &l) == nil && l.Demo != "" && strings.Contains(l.Cluster, part) {
			found = &l
		}
	}
	return found
}
