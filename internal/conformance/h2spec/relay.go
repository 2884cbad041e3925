package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"sync"
	"time"
)

// relay stands between the cases and the server under test: it speaks whatever
// TLS that server wants, turns resets into ends, and withholds what a server of
// both versions says in HTTP/1.1 to bytes that are no preface: the cases cannot
// read it, and only the end that follows counts.
type relay struct {
	// immutable
	listener net.Listener
	target   string
	tls      *tls.Config // towards the server; nil: clear text
	over     context.Context
	end      context.CancelFunc // ends every connection: some cases leave theirs open

	conns sync.WaitGroup
}

func newRelay(o *options) (*relay, error) {
	r := &relay{target: o.addr}
	r.over, r.end = context.WithCancel(context.Background())
	var err error
	if r.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	if o.tls {
		r.tls = &tls.Config{InsecureSkipVerify: true, NextProtos: splitList(o.alpn)}
		if o.cert != "" {
			pair, err := tls.LoadX509KeyPair(o.cert, o.key)
			if err != nil {
				return nil, errors.Join(err, r.listener.Close())
			}
			r.tls.Certificates = []tls.Certificate{pair}
		}
		own, err := selfSigned()
		if err != nil {
			return nil, errors.Join(err, r.listener.Close())
		}
		r.listener = tls.NewListener(r.listener, &tls.Config{Certificates: []tls.Certificate{own}, NextProtos: []string{"h2"}})
	}
	r.conns.Go(r.accept)
	return r, nil
}

func (r *relay) addr() string { return r.listener.Addr().String() }

func (r *relay) close() {
	_ = r.listener.Close() // ends accept
	r.end()
	r.conns.Wait()
}

func (r *relay) accept() {
	for {
		c, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.conns.Go(func() { r.join(c) })
	}
}

// join relays until either side ends, or all is over.
func (r *relay) join(c net.Conn) {
	defer c.Close()
	s, err := r.dial()
	if err != nil {
		return
	}
	defer s.Close()
	stop := context.AfterFunc(r.over, func() { _, _ = c.Close(), s.Close() })
	defer stop()
	var up sync.WaitGroup
	up.Go(func() {
		_, _ = io.Copy(s, c)
		_ = s.Close()
	})
	pass(c, s)
	_ = c.Close()
	up.Wait()
}

// pass hands on what the server says, up to its end.
func pass(c io.Writer, s io.Reader) {
	const foreign = "HTTP/1."
	begin := make([]byte, len(foreign))
	n, _ := io.ReadFull(s, begin) // an end or a reset shows below
	if string(begin) == foreign {
		c = io.Discard
	}
	if _, err := c.Write(begin[:n]); err == nil {
		_, _ = io.Copy(c, s)
	}
}

func (r *relay) dial() (net.Conn, error) {
	d := &net.Dialer{Timeout: 10 * time.Second}
	if r.tls == nil {
		return d.Dial("tcp", r.target)
	}
	c, err := tls.DialWithDialer(d, "tcp", r.target, r.tls)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// selfSigned makes a certificate that nobody checks.
func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	now := time.Now()
	t := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
