package sidecar

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"github.com/outrigger-mesh/outrigger/probes"
	"github.com/outrigger-mesh/outrigger/xds"
)

// discoveryTLS is made for each connection to istiod, since roots may change.
func (s *Sidecar) discoveryTLS() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: s.cfg.Discovery.ServerName}
	if s.cfg.Discovery.RootFile == "SYSTEM" {
		return cfg, nil
	}
	pem, err := os.ReadFile(s.cfg.Discovery.RootFile)
	if err != nil {
		return nil, fmt.Errorf("root certificate of istiod: %w (mount the ConfigMap istio-ca-root-cert there)", err)
	}
	cfg.RootCAs = x509.NewCertPool()
	if !cfg.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("root certificate of istiod: %s holds no certificate", s.cfg.Discovery.RootFile)
	}
	return cfg, nil
}

// conditions are what has to hold before traffic may come.
func (s *Sidecar) conditions() []probes.Condition {
	return []probes.Condition{
		{Name: "certificate", Check: s.source.Ready},
		probes.Once(s.received("clusters", xds.TypeCluster)),
		probes.Once(s.received("listeners", xds.TypeListener)),
		probes.Once(s.received("routes", xds.TypeRoute)),
		probes.Once(s.received("endpoints", xds.TypeEndpoint)),
		probes.Once(probes.Condition{Name: "capture ports", Check: s.bound}),
	}
}

// received holds when a type's first push was accepted and nothing that it names
// is missing.
func (s *Sidecar) received(name, typeURL string) probes.Condition {
	return probes.Condition{Name: name, Check: func() (bool, string) {
		st := s.client.Status()
		for _, t := range st.Types {
			if t.TypeURL != typeURL {
				continue
			}
			switch {
			case t.Synced:
				return true, ""
			case t.LastNACK != "":
				return false, "istiod's configuration was refused: " + t.LastNACK
			case !st.Connected:
				return false, "no connection to istiod at " + s.cfg.Discovery.Address + ": " + st.Reason
			case t.Missing > 0:
				return false, fmt.Sprintf("%d of them are announced and have not arrived from istiod", t.Missing)
			}
		}
		return false, "nothing has arrived from istiod yet"
	}}
}

// bound holds when the configuration has at least one listening socket, and none
// that refuses all connections because its configuration was not acceptable.
func (s *Sidecar) bound() (bool, string) {
	for name, why := range s.compiler.RefusedSockets() {
		return false, fmt.Sprintf("listener %s refuses connections: %v; docs/xds.md says what is supported", name, why)
	}
	for _, l := range s.compiler.Listeners() {
		if spec := l.Spec(); spec != nil && spec.Bind {
			return true, ""
		}
	}
	return false, "no listener with a socket was accepted; see the refused listeners at /config_dump"
}
