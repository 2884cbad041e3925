package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh/echo"
)

var tcpStep = step{ //nolint:gochecknoglobals // an entry of a table
	name: "The database, plain TCP",
	about: []string{
		"db greets first, as databases do; then 64 MiB go each way at once, and web",
		"closes its half first. Both sides compare hashes of what they got.",
	},
	run: database,
}

const (
	bulkBytes = 64 << 20
	bulkWait  = 30 * time.Second
	greetAddr = "db:3306"
	bulkAddr  = "db:3307"
)

func database(ctx context.Context, d *demo) (string, error) {
	greeting, peers, err := d.greet(ctx)
	if err != nil {
		return "", fmt.Errorf("greeting: %w", err)
	}
	var took time.Duration
	var client *logged
	server, err := awaitLogged(ctx, d.db, "inbound|3307", func() (err error) {
		client, err = awaitLogged(ctx, d.web, "outbound|3307", func() error {
			began := time.Now()
			err := d.screen.during(d.watchBulk(began), func() error { return d.bulk(ctx, bulkBytes) })
			took = time.Since(began)
			return err
		})
		return err
	})
	if err != nil {
		return "", fmt.Errorf("copy: %w", err)
	}
	speed := fmt.Sprintf("%.0f MiB/s each way", bulkBytes/float64(1<<20)/took.Seconds())
	t := table{heads: []string{"seen by", "what", "is"}}
	t.add("web", "first line, from the server", greeting)
	t.add("web and db", "64 MiB up, 64 MiB down, half-closed early", "intact, "+span(took)+", "+speed)
	t.add("web's sidecar", "bytes to and from web", count(int(client.Received))+" and "+count(int(client.Sent)))
	t.add("db, the application", "peer address of its connections (ss)", peers)
	t.add("db's sidecar", "certificate that the client presented", server.Downstream)
	t.add("web's sidecar", "certificate that the server presented", client.Upstream)
	d.screen.show(&t)
	return "128 MiB intact over mutual TLS, " + speed, errors.Join(
		expect("the greeting", greeting, strings.TrimSpace(echo.Greeting("db", "v1"))),
		expect("the client in db's access log", server.Downstream, d.web.Identity()),
		expect("the server in web's access log", client.Upstream, d.db.Identity()),
		moved("web's sidecar", client), moved("db's sidecar", server),
		expect("the application's peers", peers, localPeer),
	)
}

// moved returns an error if a sidecar's log does not have all bytes.
func moved(whose string, l *logged) error {
	if l.Received < bulkBytes || l.Sent < bulkBytes {
		return fmt.Errorf("%s logged %d bytes received and %d sent, want %d or more each", whose, l.Received, l.Sent, bulkBytes)
	}
	return nil
}

// greet waits for the server's first line, and looks who is connected to it.
func (d *demo) greet(ctx context.Context) (line, peers string, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := d.web.Dial(ctx, "tcp", greetAddr)
	if err != nil {
		return "", "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", "", err
	}
	line, err = bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return "", "", err
	}
	list, err := peersOf(ctx, d.db, 3306)
	return strings.TrimSpace(line), strings.Join(list, ", "), err
}

// watchBulk tells how long the copy takes.
func (d *demo) watchBulk(began time.Time) func() []string {
	return func() []string {
		return []string{indent + "copying 64 MiB each way  " + d.screen.paint(dim, span(time.Since(began)))}
	}
}

// bulk copies n bytes each way at once.
func (d *demo) bulk(ctx context.Context, n int64) error {
	ctx, cancel := context.WithTimeout(ctx, bulkWait)
	defer cancel()
	c, err := d.web.Dial(ctx, "tcp", bulkAddr)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() }) // ends the copy
	defer stop()
	defer c.Close()
	return echo.Exchange(c.(*net.TCPConn), n, n)
}
