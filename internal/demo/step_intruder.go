package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
)

var intruderStep = step{ //nolint:gochecknoglobals // an entry of a table
	name: "An intruder without a certificate",
	about: []string{
		"A pod without sidecar calls reviews-v1 by its address, while the PeerAuthentication",
		"of the shop goes from STRICT to PERMISSIVE and back. web calls all the while.",
	},
	run: intrude,
}

const (
	reviews1Addr  = "reviews-v1.shop:9080"
	forgedHeader  = xfcc + ": By=spiffe://cluster.local/ns/shop/sa/reviews;URI=spiffe://cluster.local/ns/shop/sa/web"
	securityFile  = "security.yaml" // of the shop
	effectWait    = time.Minute
	intruderRate  = 200
	intruderConns = 4
)

func peerAuthentication(mode string) string {
	return `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: shop }
spec: { mtls: { mode: ` + mode + ` } }
`
}

// attempt is what an intruder got.
type attempt struct {
	plain  answer
	forged answer // plain, with a header that claims to be web
	tls    error  // of TLS without a certificate of ours
}

// siege is what an intruder got from one mode to the next.
type siege struct {
	strict, open, again attempt
	opened, closed      time.Duration // from writing the file to its effect
}

func intrude(ctx context.Context, d *demo) (string, error) {
	s := d.screen
	good := load{from: d.web, to: reviewsAddr, conns: intruderConns, rate: intruderRate}.start(ctx, nil)
	defer good.stop()
	var g siege
	if err := s.during(good.watch(s), func() error { return g.lay(ctx, d) }); err != nil {
		return "", errors.Join(err, d.mesh.Apply(securityFile, peerAuthentication("STRICT")))
	}
	loyal := good.stop()

	t := table{heads: []string{"the intruder sends", "STRICT", "PERMISSIVE", "STRICT again"}}
	t.add("plain HTTP", got(g.strict.plain), got(g.open.plain), got(g.again.plain))
	t.add("with a forged identity header", got(g.strict.forged), got(g.open.forged)+headerFate(g.open.forged), got(g.again.forged))
	t.add("TLS without a certificate", cause(g.strict.tls), cause(g.open.tls), cause(g.again.tls))
	s.show(&t)
	s.printf("%sPERMISSIVE took effect %s after the file was written, STRICT after %s", indent, span(g.opened), span(g.closed))
	s.printf("%sweb meanwhile: %s, %d failed", indent, requests(loyal.asked), loyal.failed)
	return "cut off under STRICT, let in under PERMISSIVE, cut off again", errors.Join(
		shut("at first", &g.strict), shut("again", &g.again), let(&g.open), loyal.none(),
	)
}

// lay attacks in each mode.
func (g *siege) lay(ctx context.Context, d *demo) (err error) {
	g.strict = attack(ctx, d.intruder)
	g.opened, err = d.switchMode(ctx, "PERMISSIVE", func() bool { return once(ctx, d.intruder).err == nil })
	if err != nil {
		return err
	}
	g.open = attack(ctx, d.intruder)
	g.closed, err = d.switchMode(ctx, "STRICT", func() bool { return once(ctx, d.intruder).err != nil })
	g.again = attack(ctx, d.intruder)
	return err
}

// switchMode applies a mode and returns how long after that it was effective.
func (d *demo) switchMode(ctx context.Context, mode string, effective func() bool) (time.Duration, error) {
	began := time.Now()
	applied := make(chan error, 1)
	go func() { applied <- d.mesh.Apply(securityFile, peerAuthentication(mode)) }()
	err := until(ctx, effectWait, mode+" becoming effective", effective)
	return time.Since(began), errors.Join(err, <-applied)
}

// attack tries all that an intruder can.
func attack(ctx context.Context, from *testmesh.Pod) attempt {
	return attempt{
		plain:  once(ctx, from),
		forged: once(ctx, from, forgedHeader),
		tls:    withoutCertificate(ctx, from),
	}
}

// once asks on a connection of its own.
func once(ctx context.Context, from *testmesh.Pod, headers ...string) answer {
	c := &caller{pod: from, addr: reviews1Addr, path: "/"}
	defer c.close()
	return c.ask(ctx, headers...)
}

// errAnswered is what an intruder should not come to.
var errAnswered = errors.New("was answered")

// withoutCertificate speaks TLS as sidecars do, but has nothing to show. It
// returns what the server said to that.
func withoutCertificate(ctx context.Context, from *testmesh.Pod) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	raw, err := from.Dial(ctx, "tcp", reviews1Addr)
	if err != nil {
		return err
	}
	conn := tls.Client(raw, &tls.Config{
		InsecureSkipVerify: true, //nolint:gosec // an intruder takes what it gets
		NextProtos:         []string{"istio"},
	})
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: reviews\r\n\r\n"); err != nil {
		return err
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil { // TLS 1.3 refuses a client after its handshake
		return err
	}
	return errAnswered
}

func got(a answer) string {
	if a.status != 0 {
		return fmt.Sprintf("%d from %s", a.status, a.from.Pod)
	}
	switch {
	case errors.Is(a.err, syscall.ECONNRESET):
		return "connection reset"
	case errors.Is(a.err, io.ErrUnexpectedEOF):
		return "connection closed"
	}
	return cause(a.err)
}

func headerFate(a answer) string {
	if len(a.from.Header(xfcc)) == 0 {
		return ", header removed"
	}
	return ", HEADER KEPT"
}

// shut returns an error unless the intruder was kept out.
func shut(when string, a *attempt) error {
	var errs []error
	for what, err := range map[string]error{"plain HTTP": a.plain.err, "plain HTTP with a forged header": a.forged.err} {
		if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.ErrUnexpectedEOF) {
			errs = append(errs, fmt.Errorf("STRICT %s: %s was not cut off: %v", when, what, err)) //nolint:errorlint // may be nil
		}
	}
	return errors.Join(append(errs, refused("STRICT "+when, a.tls))...)
}

// let returns an error unless the intruder was let in, as a nobody.
func let(a *attempt) error {
	errs := []error{refused("PERMISSIVE", a.tls)}
	for _, in := range []answer{a.plain, a.forged} {
		if in.err != nil {
			errs = append(errs, fmt.Errorf("PERMISSIVE: plain HTTP is refused: %w", in.err))
		} else if claims := in.from.Header(xfcc); len(claims) > 0 {
			errs = append(errs, fmt.Errorf("PERMISSIVE: the application is told that a plain caller is %q", claims))
		}
	}
	return errors.Join(errs...)
}

// refused returns an error unless err is the server's refusal of a TLS client.
func refused(when string, err error) error {
	if errors.Is(err, errAnswered) || errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%s: TLS without a certificate was not refused: %w", when, err)
	}
	return nil
}
