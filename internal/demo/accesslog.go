package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
)

// meshConfig turns access logs on, with what the steps want to know of them.
func meshConfig() string {
	return strings.Replace(testmesh.DefaultMeshConfig, `accessLogFile: ""`, `accessLogFile: /dev/stdout
accessLogEncoding: JSON
accessLogFormat: |
  {"access": "%START_TIME%", "cluster": "%UPSTREAM_CLUSTER%", "code": "%RESPONSE_CODE%", "flags": "%RESPONSE_FLAGS%",
   "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%", "ms": "%DURATION%", "received": "%BYTES_RECEIVED%", "sent": "%BYTES_SENT%",
   "downstream": "%DOWNSTREAM_PEER_URI_SAN%", "upstream": "%UPSTREAM_PEER_URI_SAN%"}`, 1)
}

// logged is a line of the access log.
type logged struct {
	Access     string `json:"access"` // time; other lines of a log do not have it
	Cluster    string `json:"cluster"`
	Downstream string `json:"downstream"` // identity of the peer that connected to the sidecar
	Upstream   string `json:"upstream"`   // identity of the peer that the sidecar connected to
	Received   int64  `json:"received"`
	Sent       int64  `json:"sent"`
}

// awaitLogged calls act and returns what the sidecar of the pod then logs of a
// request or connection whose cluster has this part in its name.
func awaitLogged(ctx context.Context, pod *testmesh.Pod, part string, act func() error) (*logged, error) {
	before := len(pod.SidecarLog())
	if err := act(); err != nil {
		return nil, err
	}
	var found *logged
	err := until(ctx, patience, fmt.Sprintf("an access log of %s for %s", pod.Name(), part), func() bool {
		found = lastLogged(pod.SidecarLog()[before:], part)
		return found != nil
	})
	return found, err
}

func lastLogged(text, part string) *logged {
	var found *logged
	for line := range strings.Lines(text) {
		if l, ok := parseLogged(line); ok && strings.Contains(l.Cluster, part) {
			found = &l
		}
	}
	return found
}

func parseLogged(line string) (l logged, ok bool) {
	err := json.Unmarshal([]byte(line), &l)
	return l, err == nil && l.Access != ""
}
