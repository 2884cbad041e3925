package main

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"

	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/generic"
	"github.com/summerwind/h2spec/hpack"
	"github.com/summerwind/h2spec/http2"
	"github.com/summerwind/h2spec/spec"
)

// serverCase is a case with its place in the list.
type serverCase struct {
	id string
	*spec.TestCase
}

// testServer runs every case against the address, each on a connection of its own.
func (o *options) testServer(p *printer) error {
	cases := serverCases()
	if o.list {
		for _, c := range cases {
			fmt.Println(c.id, c.Desc)
		}
		return nil
	}
	relay, err := newRelay(o)
	if err != nil {
		return err
	}
	defer relay.close()
	host, port, err := net.SplitHostPort(relay.addr())
	if err != nil {
		return err
	}
	conf := o.config()
	conf.Host, conf.TLS = host, o.tls
	if conf.Port, err = strconv.Atoi(port); err != nil {
		return err
	}
	return eachCase(cases, o.parallel, func(c serverCase) error {
		return p.print(c.id, c.Desc, c.Requirement, runServerCase(conf, c.TestCase))
	})
}

// eachCase calls f for every case, some at the same time.
func eachCase(cases []serverCase, parallel int, f func(serverCase) error) error {
	queue := make(chan serverCase)
	errs := make([]error, parallel)
	var workers sync.WaitGroup
	for i := range errs {
		workers.Go(func() {
			for c := range queue {
				errs[i] = errors.Join(errs[i], f(c))
			}
		})
	}
	for _, c := range cases {
		queue <- c
	}
	close(queue)
	workers.Wait()
	return errors.Join(errs...)
}

func runServerCase(shared *config.Config, c *spec.TestCase) error {
	conf := *shared // a case may change it
	conn, err := spec.Dial(&conf)
	if err != nil {
		return err
	}
	defer conn.Close()
	return guard(func() error { return c.Run(&conf, conn) })
}

// serverCases lists the cases in their order, ours last.
func serverCases() []serverCase {
	var all []serverCase
	var add func(g *spec.TestGroup)
	add = func(g *spec.TestGroup) {
		for i, c := range slices.Concat(g.Tests, g.StrictTests) {
			all = append(all, serverCase{id: fmt.Sprintf("%s/%d", g.ID(), i+1), TestCase: c})
		}
		for _, sub := range g.Groups {
			add(sub)
		}
	}
	for _, g := range []*spec.TestGroup{generic.Spec(), http2.Spec(), hpack.Spec(), added()} {
		add(g)
	}
	return all
}
