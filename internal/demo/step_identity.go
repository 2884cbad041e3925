package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
)

var identityStep = step{ //nolint:gochecknoglobals // an entry of a table
	name: "Who talks to whom",
	about: []string{
		"Each sidecar got its certificate from istiod's CA and checks the other's.",
		"The application learns its caller from the header x-forwarded-client-cert.",
	},
	run: identity,
}

const (
	xfcc = "x-forwarded-client-cert"
	// localPeer is the address from which a sidecar connects to its application,
	// so that the capture rules tell it from a captured connection.
	localPeer = "127.0.0.6"
)

func identity(ctx context.Context, d *demo) (string, error) {
	c := &caller{pod: d.web, addr: reviewsAddr, path: "/"}
	defer c.close()
	var seen answer
	var client *logged
	server, err := awaitLogged(ctx, d.reviews1, "inbound|9080", func() (err error) {
		client, err = awaitLogged(ctx, d.web, "|v1|reviews.", func() error {
			for seen.from.Pod != d.reviews1.Name() && seen.err == nil {
				seen = c.ask(ctx)
			}
			return seen.err
		})
		return err
	})
	if err != nil {
		return "", err
	}
	peers, err := peersOf(ctx, d.reviews1, 9080)
	if err != nil {
		return "", err
	}
	by, uri := certFields(seen.from.Header(xfcc))
	web, reviews := d.web.Identity(), d.reviews1.Identity()
	t := table{heads: []string{"seen by", "what", "is"}}
	t.add("reviews, the application", "caller's certificate (header, URI)", uri)
	t.add("", "its own sidecar's (header, By)", by)
	t.add("", "peer address of its connections (ss)", strings.Join(peers, ", "))
	t.add("reviews' sidecar", "certificate that the client presented", server.Downstream)
	t.add("web's sidecar", "certificate that the server presented", client.Upstream)
	d.screen.show(&t)
	return "web and reviews proved who they are; the application's peer is " + localPeer, errors.Join(
		expect("the header's URI", uri, web), expect("the header's By", by, reviews),
		expect("the client in reviews' access log", server.Downstream, web),
		expect("the server in web's access log", client.Upstream, reviews),
		expect("the application's peers", strings.Join(peers, ", "), localPeer),
	)
}

// expect returns an error unless got is what is wanted.
func expect(what, got, want string) error {
	if got == want {
		return nil
	}
	return fmt.Errorf("%s: got %q, want %q", what, got, want)
}

// certFields reads the one element of the header that a sidecar writes.
func certFields(values []string) (by, uri string) {
	if len(values) != 1 || strings.Contains(values[0], ",") {
		return "", fmt.Sprintf("%d header lines: %s", len(values), strings.Join(values, " | "))
	}
	for field := range strings.SplitSeq(values[0], ";") {
		switch name, value, _ := strings.Cut(field, "="); name {
		case "By":
			by = value
		case "URI":
			uri = value
		}
	}
	return by, uri
}

// peersOf returns the addresses that have connections to a port of the pod's
// application, as ss tells them inside the pod.
func peersOf(ctx context.Context, p *testmesh.Pod, port int) ([]string, error) {
	out, err := p.Exec(ctx, 0, "ss", "-Htn", "state", "established", "sport", "=", fmt.Sprintf(":%d", port))
	if err != nil {
		return nil, err
	}
	var peers []string
	for line := range strings.Lines(out) {
		fields := strings.Fields(line) // queues, local, peer
		if len(fields) < 4 {
			return nil, fmt.Errorf("unexpected line of ss: %q", line)
		}
		peer := fields[3]
		peers = append(peers, strings.Trim(strings.TrimPrefix(peer[:max(0, strings.LastIndexByte(peer, ':'))], "[::ffff:"), "[]"))
	}
	slices.Sort(peers)
	return slices.Compact(peers), nil
}
