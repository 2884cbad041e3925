package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/summerwind/h2spec/client"
	"github.com/summerwind/h2spec/spec"
)

// errNobodyCame is the failure of a case whose port nobody connected to.
var errNobodyCame = errors.New("no connection within the limit")

// clientCase is a case with its place in the list.
type clientCase struct {
	id string
	*spec.ClientTestCase
}

// testClient listens on a port for each case and returns when all have run.
func (o *options) testClient(p *printer) error {
	cases := clientCases()
	if o.list {
		for i, c := range cases {
			fmt.Println(o.port+i, c.id, c.Desc)
		}
		return nil
	}
	conf, err := o.serverTLS()
	if err != nil {
		return err
	}
	listeners := make([]net.Listener, len(cases))
	for i := range cases {
		if listeners[i], err = net.Listen("tcp", fmt.Sprintf(":%d", o.port+i)); err != nil {
			return err
		}
		if conf != nil {
			listeners[i] = tls.NewListener(listeners[i], conf)
		}
	}
	fmt.Println(`{"Result":"listening"}`)
	errs := make([]error, len(cases))
	var pending, loops sync.WaitGroup
	for i, c := range cases {
		pending.Add(1)
		done := sync.OnceFunc(pending.Done)
		timer := time.AfterFunc(o.limit, func() { _ = listeners[i].Close() })
		defer timer.Stop()
		loops.Go(func() {
			defer done()
			errs[i] = o.serveCase(p, c, listeners[i], done)
		})
	}
	pending.Wait()
	for _, l := range listeners {
		_ = l.Close() // ends the loops
	}
	loops.Wait()
	return errors.Join(errs...)
}

// serverTLS returns how to speak TLS, or nil for clear text.
func (o *options) serverTLS() (*tls.Config, error) {
	if !o.tls {
		return nil, nil //nolint:nilnil // no TLS is an answer
	}
	pair, err := tls.LoadX509KeyPair(o.cert, o.key)
	return &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: splitList(o.alpn)}, err
}

// serveCase gives the case to the first connection and closes all others until
// the listener is closed.
func (o *options) serveCase(p *printer, c clientCase, l net.Listener, done func()) error {
	var first sync.WaitGroup
	defer first.Wait()
	var begun atomic.Bool
	for {
		conn, err := l.Accept()
		if err != nil {
			if begun.Load() {
				return nil
			}
			return p.print(c.id, c.Desc, c.Requirement, errNobodyCame)
		}
		if begun.Swap(true) {
			_ = conn.Close()
			continue
		}
		first.Go(func() {
			defer done()
			_ = p.print(c.id, c.Desc, c.Requirement, o.runClientCase(conn, c.ClientTestCase)) // stdout is all we have
		})
	}
}

func (o *options) runClientCase(c net.Conn, tc *spec.ClientTestCase) error {
	defer c.Close()
	conf := o.config()
	conn, err := spec.Accept(conf, endingConn{c})
	if err != nil {
		return err
	}
	return guard(func() error { return tc.Run(conf, conn) })
}

// clientCases lists the cases in their order.
func clientCases() []clientCase {
	var all []clientCase
	var add func(g *spec.ClientTestGroup)
	add = func(g *spec.ClientTestGroup) {
		for _, c := range g.Tests {
			all = append(all, clientCase{id: fmt.Sprintf("%s/%d", g.ID(), c.Seq), ClientTestCase: c})
		}
		for _, sub := range g.Groups {
			add(sub)
		}
	}
	add(client.Spec())
	return all
}

// endingConn reads a reset as the end.
type endingConn struct{ net.Conn }

// Read is the connection's.
func (c endingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if errors.Is(err, syscall.ECONNRESET) {
		err = io.EOF
	}
	return n, err
}
