package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
	"github.com/outrigger-mesh/outrigger/internal/testmesh/echo"
)

// caller asks one URL of an application again and again on one connection from
// inside a pod. It never repeats a request by itself, unlike net/http's client,
// which would hide what it is here to show.
type caller struct {
	// immutable
	pod  *testmesh.Pod
	addr string // host:port; the host is sent as Host
	path string

	// owned by whoever calls ask
	conn net.Conn
	in   *bufio.Reader
}

// patience bounds one question, its connection included.
const patience = 30 * time.Second

// answer is what became of one question.
type answer struct {
	asked  time.Time
	took   time.Duration
	status int
	from   echo.Reply // zero if the application did not answer
	err    error      // no answer, or another status than 200
}

// ask sends one request, with these header lines, and waits for the answer.
func (c *caller) ask(ctx context.Context, headers ...string) answer {
	a := answer{asked: time.Now()}
	a.status, a.from, a.err = c.exchange(ctx, headers)
	a.took = time.Since(a.asked)
	return a
}

func (c *caller) exchange(ctx context.Context, headers []string) (status int, from echo.Reply, err error) {
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if c.conn != nil && !alive(c.conn) {
		c.close()
	}
	if c.conn == nil {
		if c.conn, err = c.pod.Dial(ctx, "tcp", c.addr); err != nil {
			return 0, from, err
		}
		c.in = bufio.NewReader(c.conn)
	}
	if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, from, err
	}
	lines := append([]string{"GET " + c.path + " HTTP/1.1", "Host: " + c.addr}, headers...)
	if _, err := io.WriteString(c.conn, strings.Join(lines, "\r\n")+"\r\n\r\n"); err != nil {
		return 0, from, err
	}
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return 0, from, err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return resp.StatusCode, from, err
	}
	if resp.Close {
		c.close()
	}
	if resp.StatusCode != http.StatusOK {
		return resp.StatusCode, from, fmt.Errorf("status %d: %.200s", resp.StatusCode, body)
	}
	if resp.Header.Get("Content-Type") == "application/json" {
		err = json.Unmarshal(body, &from)
	}
	return resp.StatusCode, from, err
}

func (c *caller) close() {
	if c.conn != nil {
		_ = c.conn.Close() // everything was said
		c.conn = nil
	}
}

// alive reports whether a connection that waits for nothing was not closed by its
// other side, which every HTTP library looks at before it uses one again.
func alive(c net.Conn) bool {
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return false
	}
	ok := false
	err = raw.Control(func(fd uintptr) {
		_, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		ok = errors.Is(err, unix.EAGAIN)
	})
	return ok && err == nil
}
