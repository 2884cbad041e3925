// Command h2spec runs the cases of github.com/summerwind/h2spec against a server
// or, as the server, against a client, and prints one line of JSON for each,
// strict cases included.
//
// It stands in for that project's own commands for three reasons: results that a
// program can read, cases side by side, and resets. A peer that closes with bytes
// unread sends a reset, which this version of the cases takes for an error and
// later ones for the end; here it is the end.
//
// The client's cases have a port each, counted from the first one: the first
// connection to a port gets the case, all others are closed.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/spec"
)

// result is the line printed for a case.
type result struct {
	ID       string // such as http2/6.9.1/2
	Title    string
	Result   string   // pass, fail or skip
	Wanted   string   `json:",omitempty"` // the requirement, where it failed
	Expected []string `json:",omitempty"`
	Actual   string   `json:",omitempty"`
}

// options are the command line's.
type options struct {
	addr, path, cert, key, alpn string
	tls, list                   bool
	port, parallel              int
	wait, limit                 time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.addr, "addr", "", "server: address under test")
	flag.StringVar(&o.path, "path", "/", "server: path of the requests")
	flag.BoolVar(&o.tls, "tls", false, "speak TLS, without looking at the other's certificate")
	flag.StringVar(&o.cert, "cert", "", "file of our certificate, with -tls; a client may go without")
	flag.StringVar(&o.key, "key", "", "file of its key")
	flag.StringVar(&o.alpn, "alpn", "h2", "protocols to offer, with -tls, separated by commas")
	flag.IntVar(&o.port, "port", 0, "client: first port to listen on, on all addresses")
	flag.BoolVar(&o.list, "list", false, "print the cases and run none")
	flag.IntVar(&o.parallel, "parallel", 4, "server: cases at the same time")
	flag.DurationVar(&o.wait, "wait", 2*time.Second, "how long a case waits for an answer")
	flag.DurationVar(&o.limit, "limit", time.Minute, "client: how long to wait for the connections")
	flag.Parse()
	if err := run(&o, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "h2spec:", err)
		os.Exit(1)
	}
}

func run(o *options, mode string) error {
	p := &printer{out: json.NewEncoder(os.Stdout)}
	switch mode {
	case "server":
		return o.testServer(p)
	case "client":
		return o.testClient(p)
	}
	return errors.New("usage: h2spec [flags] server|client")
}

// config returns what the cases want to know.
func (o *options) config() *config.Config {
	return &config.Config{Path: o.path, Timeout: o.wait, MaxHeaderLen: 4000, Strict: true, Insecure: true}
}

// printer prints results, one at a time.
type printer struct {
	mu  sync.Mutex
	out *json.Encoder // guarded by mu
}

// print tells how a case ended.
func (p *printer) print(id, title, requirement string, err error) error {
	r := result{ID: id, Title: title, Result: "pass"}
	if failed := (*spec.TestError)(nil); errors.As(err, &failed) {
		r.Expected, r.Actual = failed.Expected, failed.Actual
	} else if err != nil {
		r.Actual = err.Error()
	}
	switch {
	case errors.Is(err, spec.ErrSkipped):
		r.Result = "skip"
	case err != nil:
		r.Result, r.Wanted = "fail", requirement
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Encode(r)
}

// guard runs a case; a panic, which some have where an answer never comes, is its
// failure.
func guard(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the case gave up: %v", r)
		}
	}()
	return f()
}

// splitList splits a list separated by commas.
func splitList(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' })
}
