package relay

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Identity is a workload's certificate, all PEM.
type Identity struct {
	// Chain is the leaf and what signed it; a root at its end is left out.
	Chain []byte
	Key   []byte
	Roots []byte
}

// secrets are what pilot-agent would serve, by name.
type secrets struct {
	byName map[string]*anypb.Any // immutable
}

const (
	secretType = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
	systemCAs  = "/etc/ssl/certs/ca-certificates.crt"
)

func newSecrets(id *Identity, roots map[string][]byte) (*secrets, error) {
	s := &secrets{byName: map[string]*anypb.Any{}}
	if id == nil {
		return s, nil
	}
	chain, err := withoutRoot(id.Chain)
	if err != nil {
		return nil, err
	}
	inline := func(b []byte) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b}}
	}
	trust := func(name string, pem []byte) *tlsv3.Secret {
		return &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_ValidationContext{
			ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: inline(pem)},
		}}
	}
	list := []*tlsv3.Secret{
		{Name: "default", Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{CertificateChain: inline(chain), PrivateKey: inline(id.Key)}}},
		trust("ROOTCA", id.Roots),
	}
	if bundle, err := os.ReadFile(systemCAs); err == nil {
		list = append(list, trust("file-root:system", bundle))
	}
	for name, pem := range roots {
		list = append(list, trust(name, pem))
	}
	for _, secret := range list {
		body, err := proto.MarshalOptions{Deterministic: true}.Marshal(secret)
		if err != nil {
			return nil, err
		}
		s.byName[secret.GetName()] = &anypb.Any{TypeUrl: secretType, Value: body}
	}
	return s, nil
}

// withoutRoot drops self-signed certificates from a chain.
func withoutRoot(chain []byte) ([]byte, error) {
	var out bytes.Buffer
	for block, rest := pem.Decode(chain); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("parse certificate chain: %w", err)
		}
		if bytes.Equal(cert.RawIssuer, cert.RawSubject) && len(cert.RawSubject) > 0 && cert.IsCA {
			continue
		}
		if err := pem.Encode(&out, block); err != nil {
			return nil, err
		}
	}
	if out.Len() == 0 {
		return nil, errors.New("certificate chain without certificates")
	}
	return out.Bytes(), nil
}

// StreamSecrets serves secrets by name. Requests without names get no answer, or
// Envoy would take what it waits for to be missing.
func (r *Relay) StreamSecrets(stream secretv3.SecretDiscoveryService_StreamSecretsServer) error {
	var served []string
	for {
		req, err := stream.Recv()
		if err != nil {
			return nil //nolint:nilerr // the sidecar is gone
		}
		names := slices.Sorted(slices.Values(req.GetResourceNames()))
		if e := req.GetErrorDetail(); e != nil {
			r.spec.Log.Warn("secret refused by the sidecar", "names", names, "message", e.GetMessage())
		}
		if len(names) == 0 || slices.Equal(names, served) {
			continue // an ACK
		}
		resp := &discoveryv3.DiscoveryResponse{TypeUrl: secretType, VersionInfo: "1", Nonce: "1"}
		for _, name := range names {
			if secret := r.secrets.byName[name]; secret != nil {
				resp.Resources = append(resp.Resources, secret)
			}
		}
		if err := stream.Send(resp); err != nil {
			return err
		}
		served = names
	}
}
