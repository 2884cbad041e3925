// Command interop is grpc-go's interop server, which in its own form leaves out the
// id that the case pick_first_unary asks for.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/interop"
	testpb "google.golang.org/grpc/interop/grpc_testing"
)

func main() {
	port := flag.Int("port", 8080, "port to listen on")
	flag.Parse()
	if err := serve(*port); err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		os.Exit(1)
	}
}

func serve(port int) error {
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return err
	}
	s := grpc.NewServer()
	testpb.RegisterTestServiceServer(s, &named{TestServiceServer: interop.NewTestServer(), id: l.Addr().String()})
	return s.Serve(l)
}

// named fills in who answered.
type named struct {
	testpb.TestServiceServer
	id string
}

// UnaryCall is the interop server's.
func (n *named) UnaryCall(ctx context.Context, r *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	resp, err := n.TestServiceServer.UnaryCall(ctx, r)
	if err == nil && r.GetFillServerId() {
		resp.ServerId = n.id
	}
	return resp, err
}
