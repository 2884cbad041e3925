package xds

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"

	"github.com/outrigger-mesh/outrigger/xds/wire"
)

// Handler judges what arrives and follows what changed, on the client's goroutine. Its methods must return soon and must
// not keep a body, nor a part of it: its memory is given back behind the response.
type Handler interface {
	// Check judges a resource that is new or changed and sound by the rules, before the store takes it over.
	Check(typeURL, name string, body []byte) error
	// Refused is told of each resource that the rules or Check turned down; what is held under its name stays.
	Refused(typeURL, name string, body []byte, why error)
	// Apply is told what changed, after the store has it and before istiod gets its answer. Its error is part of the NACK.
	Apply(Change) error
}

// Config is what a Client needs to know.
type Config struct {
	// Address of istiod, host:port.
	Address string
	// Node is the encoded envoy.config.core.v3.Node.
	Node []byte
	// Rules say which extensions are welcome.
	Rules wire.Rules
	// Handler may be nil.
	Handler Handler
	// Connect says how connections are made.
	Connect Connect
	// NameTable asks for the DNS table as well.
	NameTable bool
	// Log may be nil.
	Log *slog.Logger
}

// Connect says how connections to istiod are made.
type Connect struct {
	// TLS is called for each connection, so that roots and certificates may change; nil means plain text.
	TLS func() (*tls.Config, error)
	// TokenFile holds the bearer token, read anew for each stream; without the file no token is sent.
	TokenFile string
	// TokenOnPlaintext sends the token also without TLS.
	TokenOnPlaintext bool
	// Headers are sent with each stream; names are in small letters.
	Headers map[string]string
	// Dial may be nil.
	Dial func(ctx context.Context, address string) (net.Conn, error)
}

func (c *Config) validate() error {
	if _, _, err := net.SplitHostPort(c.Address); err != nil {
		return errors.Join(errors.New("address of istiod"), err)
	}
	if len(c.Node) == 0 {
		return errors.New("a node is needed: istiod refuses a stream without")
	}
	return nil
}
