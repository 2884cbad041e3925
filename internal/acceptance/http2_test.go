package acceptance_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
)

// rpcEntry is a service that speaks HTTP/2 on ports that say so and on ports that do not.
const rpcEntry = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: rpc, namespace: town }
spec:
  hosts: [rpc.town.svc.cluster.local]
  addresses: [10.96.9.3]
  location: MESH_INTERNAL
  resolution: STATIC
  ports:
  - { number: 9000, name: grpc, protocol: GRPC }
  - { number: 9001, name: http2, protocol: HTTP2 }
  - { number: 9002, name: a }
  - { number: 9003, name: b }
  workloadSelector: { labels: { app: solo } }
`

// words is a gRPC service with a call of each kind.
var words = grpc.ServiceDesc{
	ServiceName: "test.Words", HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "Say", Handler: say}},
	Streams: []grpc.StreamDesc{{StreamName: "Chat", Handler: chat, ServerStreams: true, ClientStreams: true}},
}

// say answers with the certificate header; some words are errors.
func say(_ any, ctx context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) { //nolint:revive // gRPC's order
	in := new(wrapperspb.StringValue)
	if err := dec(in); err != nil {
		return nil, err
	}
	switch in.GetValue() {
	case "fail":
		return nil, status.Error(codes.FailedPrecondition, "not like this: ü%")
	case "sleep":
		<-ctx.Done()
		return nil, ctx.Err()
	}
	md, _ := metadata.FromIncomingContext(ctx)
	_ = grpc.SetTrailer(ctx, metadata.Pairs("x-trailer", "t"))
	return wrapperspb.String(in.GetValue() + " " + strings.Join(md.Get("x-forwarded-client-cert"), ",")), nil
}

// chat sends back what it gets.
func chat(_ any, stream grpc.ServerStream) error {
	for {
		in := new(wrapperspb.StringValue)
		if err := stream.RecvMsg(in); err != nil {
			if err == io.EOF { //nolint:errorlint // gRPC returns it bare
				return nil
			}
			return err
		}
		if err := stream.SendMsg(in); err != nil {
			return err
		}
	}
}

// serveRPC runs the service on a port of a pod.
func serveRPC(t *testing.T, pod *testmesh.Pod, port int) {
	t.Helper()
	l, err := pod.Listen(t.Context(), "tcp", fmt.Sprintf("0.0.0.0:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	s.RegisterService(&words, nil)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() {
		s.Stop()
		<-served
	})
}

// serveVersions answers with the version it was asked in, on a port of a pod.
func serveVersions(t *testing.T, pod *testmesh.Pod, port int, http1 bool) {
	t.Helper()
	l, err := pod.Listen(t.Context(), "tcp", fmt.Sprintf("0.0.0.0:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Protocols: new(http.Protocols), ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("x-cert", r.Header.Get("x-forwarded-client-cert"))
		_, _ = io.WriteString(w, r.Proto)
	})}
	s.Protocols.SetUnencryptedHTTP2(true)
	s.Protocols.SetHTTP1(http1)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-served
	})
}

// versionClient speaks HTTP/1.1 or HTTP/2 in plain text from inside a pod.
func versionClient(t *testing.T, pod *testmesh.Pod, http2 bool) *http.Client {
	t.Helper()
	tr := &http.Transport{DialContext: pod.Dial, Protocols: new(http.Protocols), DisableCompression: true}
	tr.Protocols.SetUnencryptedHTTP2(http2)
	tr.Protocols.SetHTTP1(!http2)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: time.Minute}
}

func dialRPC(t *testing.T, pod *testmesh.Pod, addr string) *grpc.ClientConn {
	t.Helper()
	c, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return pod.Dial(ctx, "tcp", addr) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func ask(t *testing.T, c *grpc.ClientConn, word string, limit time.Duration, opts ...grpc.CallOption) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	out := new(wrapperspb.StringValue)
	err := c.Invoke(ctx, "/test.Words/Say", wrapperspb.String(word), out, opts...)
	return out.GetValue(), err
}

func TestMeshHTTP2AndGRPC(t *testing.T) {
	mesh := town(t, testmesh.WithMeshConfig(logged))
	pods := mesh.Pods("client", "solo")
	client, solo := pods[0], pods[1]
	serveRPC(t, solo, 9000)
	serveRPC(t, solo, 9003)
	serveVersions(t, solo, 9001, false)
	serveVersions(t, solo, 9002, true)
	apply(t, mesh, "rpc", rpcEntry)
	for _, mode := range []string{"PERMISSIVE", "STRICT"} {
		t.Run(mode, func(t *testing.T) {
			apply(t, mesh, "mode", peerAuthentication(mode, ""))
			for _, port := range []string{"9000", "9003"} {
				t.Run("gRPC on "+port, func(t *testing.T) { speakRPC(t, client, "rpc:"+port) })
			}
			t.Run("versions", func(t *testing.T) {
				for _, tc := range []struct {
					port  string
					http2 bool
					want  string
				}{{"9001", true, "HTTP/2.0"}, {"9001", false, "HTTP/2.0"}, {"9002", true, "HTTP/2.0"}, {"9002", false, "HTTP/1.1"}} {
					var got, cert, proto string
					c := versionClient(t, client, tc.http2)
					eventually(t, fmt.Sprintf("port %s answers (HTTP/2 %v), last: %s", tc.port, tc.http2, got), func() bool {
						resp, err := c.Get("http://rpc:" + tc.port + "/")
						if err != nil {
							got = err.Error()
							return false
						}
						b, _ := io.ReadAll(resp.Body)
						_ = resp.Body.Close()
						got, cert, proto = string(b), resp.Header.Get("x-cert"), resp.Proto
						return resp.StatusCode == http.StatusOK
					})
					if got != tc.want || !strings.Contains(cert, "/sa/client") {
						t.Errorf("port %s, HTTP/2 %v: the application got %s from %q", tc.port, tc.http2, got, cert)
					}
					if want := map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"}[tc.http2]; proto != want {
						t.Errorf("port %s: got an answer in %s, want %s", tc.port, proto, want)
					}
				}
			})
		})
	}
	eventually(t, "the access log tells HTTP/2", func() bool {
		return strings.Contains(client.SidecarLog(), "POST /test.Words/Say HTTP/2\" 200") && strings.Contains(solo.SidecarLog(), "POST /test.Words/Say HTTP/2\" 200")
	})
}

// speakRPC makes calls of each kind and with each end.
func speakRPC(t *testing.T, client *testmesh.Pod, addr string) {
	t.Helper()
	c := dialRPC(t, client, addr)
	var got string
	eventually(t, "a call succeeds", func() (ok bool) {
		var err error
		got, err = ask(t, c, "hello", soon)
		return err == nil
	})
	var trailer metadata.MD
	got, err := ask(t, c, "hello", soon, grpc.Trailer(&trailer))
	if err != nil || !strings.HasPrefix(got, "hello ") || !strings.Contains(got, "/sa/client") {
		t.Errorf("got %q, %v", got, err)
	}
	if v := trailer.Get("x-trailer"); len(v) != 1 || v[0] != "t" {
		t.Errorf("got trailers %v", trailer)
	}
	_, err = ask(t, c, "fail", soon)
	if s := status.Convert(err); s.Code() != codes.FailedPrecondition || s.Message() != "not like this: ü%" {
		t.Errorf("got %v", err)
	}
	// The client, both sidecars and the application all watch the same clock: who ends
	// the call is open. A sidecar whose timeout ends first says 14, as Envoy's router.
	for range 5 {
		_, err = ask(t, c, "sleep", 300*time.Millisecond)
		if code := status.Code(err); code != codes.DeadlineExceeded && code != codes.Unavailable {
			t.Errorf("a call that sleeps beyond its time: got %v", err)
		}
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for range 20 {
				if _, err := ask(t, c, "again", soon); err != nil {
					t.Errorf("concurrent call: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	talkRPC(t, c)
}

// talkRPC holds a conversation in both directions.
func talkRPC(t *testing.T, c *grpc.ClientConn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	s, err := c.NewStream(ctx, &words.Streams[0], "/test.Words/Chat")
	if err != nil {
		t.Fatal(err)
	}
	for n := range 50 {
		want := strings.Repeat("x", n*97)
		if err := s.SendMsg(wrapperspb.String(want)); err != nil {
			t.Fatalf("message %d: %v", n, err)
		}
		got := new(wrapperspb.StringValue)
		if err := s.RecvMsg(got); err != nil || got.GetValue() != want {
			t.Fatalf("message %d: got %d bytes, %v", n, len(got.GetValue()), err)
		}
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := s.RecvMsg(new(wrapperspb.StringValue)); err != io.EOF { //nolint:errorlint // gRPC returns it bare
		t.Errorf("got %v at the end", err)
	}
}
