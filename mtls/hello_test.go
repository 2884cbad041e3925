package mtls_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/mtls"
)

// recordConn keeps what is written, hands out what it was given, and ends.
type recordConn struct {
	in  io.Reader
	out bytes.Buffer
}

func (c *recordConn) Read(p []byte) (int, error) {
	if c.in == nil {
		return 0, io.EOF
	}
	return c.in.Read(p)
}
func (c *recordConn) Write(p []byte) (int, error)      { return c.out.Write(p) }
func (c *recordConn) Close() error                     { return nil }
func (c *recordConn) LocalAddr() net.Addr              { return nil }
func (c *recordConn) RemoteAddr() net.Addr             { return nil }
func (c *recordConn) SetDeadline(time.Time) error      { return nil }
func (c *recordConn) SetReadDeadline(time.Time) error  { return nil }
func (c *recordConn) SetWriteDeadline(time.Time) error { return nil }

// clientHello is what crypto/tls sends first.
func clientHello(cfg *tls.Config) []byte {
	cfg.InsecureSkipVerify = true
	conn := &recordConn{}
	_ = tls.Client(conn, cfg).HandshakeContext(context.Background())
	return conn.out.Bytes()
}

// readByStd is what crypto/tls's server reads of the same bytes.
func readByStd(b []byte) *tls.ClientHelloInfo {
	var got *tls.ClientHelloInfo
	stop := errors.New("seen")
	cfg := &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		got = h
		return nil, stop
	}}
	_ = tls.Server(&recordConn{in: bytes.NewReader(b)}, cfg).HandshakeContext(context.Background())
	return got
}

// fragment spreads the first record over records of at most n bytes.
func fragment(b []byte, n int) []byte {
	var out []byte
	for body := range slices.Chunk(b[5:], n) {
		out = append(out, b[0], b[1], b[2])
		out = binary.BigEndian.AppendUint16(out, uint16(len(body)))
		out = append(out, body...)
	}
	return out
}

func helloConfigs() map[string]*tls.Config {
	return map[string]*tls.Config{
		"mesh":       {ServerName: "outbound_.80_._.reviews.shop.svc.cluster.local", NextProtos: []string{"istio-peer-exchange", "istio"}},
		"TLS 1.2":    {ServerName: "API.Example.com", MaxVersion: tls.VersionTLS12},
		"no name":    {NextProtos: []string{"h2", "http/1.1"}},
		"many ALPN":  {ServerName: "a", NextProtos: slices.Repeat([]string{strings.Repeat("p", 250)}, 30)},
		"no TLS 1.2": {ServerName: "b", MinVersion: tls.VersionTLS13},
	}
}

func TestParseClientHelloReadsWhatCryptoTLSReads(t *testing.T) {
	for name, cfg := range helloConfigs() {
		whole := clientHello(cfg)
		for _, size := range []int{len(whole), 1000, 7, 4} {
			b := fragment(whole, size)
			if len(b) > mtls.MaxHello {
				continue
			}
			got, need, err := mtls.ParseClientHello(b)
			want := readByStd(whole)
			if err != nil || need != 0 || want == nil {
				t.Fatalf("%s in records of %d: need %d, error %v", name, size, need, err)
			}
			if got.SNI != strings.ToLower(want.ServerName) || !slices.Equal(got.ALPN, want.SupportedProtos) || !slices.Equal(got.Versions, want.SupportedVersions) {
				t.Errorf("%s in records of %d: got %+v, want %q %q %x", name, size, got, want.ServerName, want.SupportedProtos, want.SupportedVersions)
			}
		}
	}
}

func TestParseClientHelloAsksForMoreUntilItIsWhole(t *testing.T) {
	b := fragment(clientHello(&tls.Config{ServerName: "example.com", NextProtos: []string{"istio"}}), 300)
	steps := 0
	for have := 0; have < len(b); steps++ {
		_, need, err := mtls.ParseClientHello(b[:have])
		if !errors.Is(err, mtls.ErrShort) || need <= have || need > len(b) {
			t.Fatalf("with %d of %d bytes: need %d, error %v", have, len(b), need, err)
		}
		have = need
	}
	if steps > 20 {
		t.Errorf("%d steps for %d bytes", steps, len(b))
	}
	for have := range len(b) {
		if _, need, err := mtls.ParseClientHello(b[:have]); !errors.Is(err, mtls.ErrShort) || need <= have {
			t.Fatalf("with %d of %d bytes: need %d, error %v", have, len(b), need, err)
		}
	}
}

func TestParseClientHelloTellsPlainText(t *testing.T) {
	for name, tc := range map[string]struct {
		in   string
		want error
	}{
		"nothing yet":          {"", mtls.ErrShort},
		"one byte of a record": {"\x16", mtls.ErrShort},
		"HTTP":                 {"G", mtls.ErrNotTLS},
		"SSL 2":                {"\x80\x2e\x01\x03", mtls.ErrNotTLS},
		"other major version":  {"\x16\x02", mtls.ErrNotTLS},
		"empty record":         {"\x16\x03\x01\x00\x00", mtls.ErrNotTLS},
		"oversized record":     {"\x16\x03\x01\x40\x01", mtls.ErrNotTLS},
		"server hello":         {"\x16\x03\x01\x00\x20\x02", mtls.ErrNotTLS},
		"alert in between":     {"\x16\x03\x01\x00\x01\x01\x15", mtls.ErrNotTLS},
		"large message":        {"\x16\x03\x01\x00\x20\x01\x00\x40\x00", mtls.ErrTooLarge},
		"empty message":        {"\x16\x03\x01\x00\x04\x01\x00\x00\x00", mtls.ErrNotTLS},
		"short record of many": {strings.Repeat("\x16\x03\x01\x00\x01\x01", 1), mtls.ErrShort},
	} {
		if _, _, err := mtls.ParseClientHello([]byte(tc.in)); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
	tiny := append([]byte("\x16\x03\x01\x00\x04\x01\x00\x30\x00"), bytes.Repeat([]byte("\x16\x03\x01\x00\x01\x00"), 4000)...)
	if _, _, err := mtls.ParseClientHello(tiny); !errors.Is(err, mtls.ErrTooLarge) {
		t.Errorf("one-byte records: %v, want %v", err, mtls.ErrTooLarge)
	}
}

func FuzzParseClientHello(f *testing.F) {
	for _, cfg := range helloConfigs() {
		b := clientHello(cfg)
		f.Add(b)
		f.Add(fragment(b, 100))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, need, err := mtls.ParseClientHello(b)
		if errors.Is(err, mtls.ErrShort) != (need > len(b)) {
			t.Fatalf("need %d of %d bytes, error %v", need, len(b), err)
		}
		if len(b) > mtls.MaxHello {
			return
		}
		want := readByStd(b)
		if want == nil || strings.Contains(want.ServerName, "\x00") {
			return // what crypto/tls refuses may be accepted: it will refuse it then
		}
		if err != nil {
			t.Fatalf("crypto/tls reads it, we say %v", err)
		}
		if !strings.EqualFold(got.SNI, want.ServerName) || !slices.Equal(got.ALPN, want.SupportedProtos) {
			t.Fatalf("got %+v, want %q %q", got, want.ServerName, want.SupportedProtos)
		}
	})
}

func BenchmarkParseClientHello(b *testing.B) {
	hello := clientHello(helloConfigs()["mesh"])
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := mtls.ParseClientHello(hello); err != nil {
			b.Fatal(err)
		}
	}
}
