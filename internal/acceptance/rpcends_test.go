package acceptance_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
)

// ends is a gRPC service whose streams end in every way, and which tells how.
type ends struct {
	watched chan error         // why each Watch ended, as the application saw it
	limits  chan time.Duration // the time that each Watch had left
	poured  atomic.Int64       // bytes that Pour got rid of
}

func (e *ends) service() *grpc.ServiceDesc {
	both := func(name string, f func(grpc.ServerStream) error) grpc.StreamDesc {
		return grpc.StreamDesc{
			StreamName: name, ServerStreams: true, ClientStreams: true,
			Handler: func(_ any, s grpc.ServerStream) error { return f(s) },
		}
	}
	return &grpc.ServiceDesc{ServiceName: "test.Ends", HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{
		both("Watch", e.watch), both("Hasty", hasty), both("Pour", e.pour), both("Deaf", deaf),
	}}
}

// watch says one word, and waits for the end.
func (e *ends) watch(s grpc.ServerStream) error {
	left := time.Duration(0)
	if at, ok := s.Context().Deadline(); ok {
		left = time.Until(at)
	}
	e.limits <- left
	if err := s.SendMsg(wrapperspb.String("watching")); err != nil {
		return err
	}
	<-s.Context().Done()
	e.watched <- s.Context().Err()
	return s.Context().Err()
}

// hasty answers the first message and ends, whatever is still coming.
func hasty(s grpc.ServerStream) error {
	in := new(wrapperspb.StringValue)
	if err := s.RecvMsg(in); err != nil {
		return err
	}
	s.SetTrailer(metadata.Pairs("x-why", "enough", "x-raw-bin", "\x00\xff\r\n", "x-why", "really"))
	if err := s.SendMsg(wrapperspb.String("that will do")); err != nil || in.GetValue() == "well" {
		return err
	}
	return status.Error(codes.ResourceExhausted, "enough, 100%")
}

// pour sends without end.
func (e *ends) pour(s grpc.ServerStream) error {
	m := wrapperspb.String(strings.Repeat("x", 32<<10))
	for {
		if err := s.SendMsg(m); err != nil {
			return err
		}
		e.poured.Add(32 << 10)
	}
}

// deaf reads nothing.
func deaf(s grpc.ServerStream) error {
	if err := s.SendHeader(nil); err != nil {
		return err
	}
	<-s.Context().Done()
	return nil
}

// serve runs the service on a port of a pod.
func (e *ends) serve(t *testing.T, pod *testmesh.Pod, port int) {
	t.Helper()
	l, err := pod.Listen(t.Context(), "tcp", fmt.Sprintf("0.0.0.0:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	s.RegisterService(e.service(), nil)
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

func open(t *testing.T, ctx context.Context, c *grpc.ClientConn, name string) grpc.ClientStream { //nolint:revive // t first, as everywhere
	t.Helper()
	s, err := c.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Ends/"+name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func hear(s grpc.ClientStream) (string, error) {
	in := new(wrapperspb.StringValue)
	err := s.RecvMsg(in)
	return in.GetValue(), err
}

func TestMeshStreamsEndAsTheirSidesEndThem(t *testing.T) {
	mesh := town(t, testmesh.WithMeshConfig(logged))
	apply(t, mesh, "strict", peerAuthentication("STRICT", ""))
	pods := mesh.Pods("client", "solo")
	client, solo := pods[0], pods[1]
	app := &ends{watched: make(chan error, 10), limits: make(chan time.Duration, 10)}
	app.serve(t, solo, 9000)
	apply(t, mesh, "rpc", rpcEntry)
	c := dialRPC(t, client, "rpc:9000")
	eventually(t, "a call succeeds", func() bool {
		_, err := ask(t, c, "hello", soon)
		return err == nil
	})
	// A stream beside shows that only those end that should.
	beside := converse(t, c)
	alive := func(t *testing.T) {
		t.Helper()
		if err := beside.say(); err != nil {
			t.Errorf("a stream on the same connection: %v", err)
		}
	}
	seen := func(t *testing.T) {
		t.Helper()
		late := time.NewTimer(5 * time.Second)
		defer late.Stop()
		select {
		case err := <-app.watched:
			if !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the application saw %v", err)
			}
		case <-late.C:
			t.Error("the application was not told")
		}
	}
	watch := func(t *testing.T, ctx context.Context, c *grpc.ClientConn) grpc.ClientStream {
		t.Helper()
		s := open(t, ctx, c, "Watch")
		if got, err := hear(s); err != nil || got != "watching" {
			t.Fatalf("got %q, %v", got, err)
		}
		return s
	}
	t.Run("cancelled by the client", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s := watch(t, ctx, c)
		if left := <-app.limits; left != 0 {
			t.Errorf("the application was given %v", left)
		}
		cancel()
		if _, err := hear(s); status.Code(err) != codes.Canceled {
			t.Errorf("got %v", err)
		}
		seen(t)
		alive(t)
	})
	t.Run("the client's connection is gone", func(t *testing.T) {
		other := dialRPC(t, client, "rpc:9000")
		watch(t, t.Context(), other)
		<-app.limits
		if err := other.Close(); err != nil {
			t.Fatal(err)
		}
		seen(t)
		alive(t)
	})
	t.Run("the deadline passes", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		s := watch(t, ctx, c)
		if left := <-app.limits; left <= 0 || left > 5*time.Second {
			t.Errorf("the application was given %v", left)
		}
		if _, err := hear(s); status.Code(err) != codes.DeadlineExceeded && status.Code(err) != codes.Unavailable {
			t.Errorf("got %v", err)
		}
		seen(t)
		alive(t)
	})
	for first, want := range map[string]codes.Code{"well": codes.OK, "ill": codes.ResourceExhausted} {
		t.Run("the application ends while the client speaks, "+want.String(), func(t *testing.T) {
			s := open(t, t.Context(), c, "Hasty")
			if err := s.SendMsg(wrapperspb.String(first)); err != nil {
				t.Fatal(err)
			}
			more := wrapperspb.String(strings.Repeat("x", 16<<10))
			stopped := within(soon, func() bool { return errors.Is(s.SendMsg(more), io.EOF) })
			if !stopped {
				t.Error("the client can still send")
			}
			if got, err := hear(s); err != nil || got != "that will do" {
				t.Errorf("got %q, %v", got, err)
			}
			_, err := hear(s)
			if want == codes.OK && !errors.Is(err, io.EOF) || want != codes.OK && status.Convert(err).Message() != "enough, 100%" {
				t.Errorf("got %v at the end, want %v", err, want)
			}
			end := s.Trailer()
			if why := strings.Join(end.Get("x-why"), ","); why != "enough,really" || strings.Join(end.Get("x-raw-bin"), "") != "\x00\xff\r\n" {
				t.Errorf("got trailers %v", end)
			}
			alive(t)
		})
	}
	t.Run("a stream without a word ends by itself", func(t *testing.T) {
		s := open(t, t.Context(), c, "Hasty")
		if err := s.CloseSend(); err != nil {
			t.Fatal(err)
		}
		if _, err := hear(s); status.Code(err) != codes.Unknown && status.Code(err) != codes.Internal {
			t.Errorf("got %v", err) // the application's handler fails with EOF
		}
		alive(t)
	})
}

// TestMeshStoppedReadersHoldMemoryAtTheirWindows lets readers stop, downstream and
// upstream, while the other side sends on.
func TestMeshStoppedReadersHoldMemoryAtTheirWindows(t *testing.T) {
	mesh := town(t)
	apply(t, mesh, "strict", peerAuthentication("STRICT", ""))
	pods := mesh.Pods("client", "solo")
	client, solo := pods[0], pods[1]
	app := &ends{watched: make(chan error, 10), limits: make(chan time.Duration, 10)}
	app.serve(t, solo, 9000)
	apply(t, mesh, "rpc", rpcEntry)
	c := dialRPC(t, client, "rpc:9000")
	eventually(t, "a call succeeds", func() bool {
		_, err := ask(t, c, "hello", soon)
		return err == nil
	})
	t.Run("downstream", func(t *testing.T) {
		before := resident(t, client, solo)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for range 8 {
			open(t, ctx, dialRPC(t, client, "rpc:9000"), "Pour")
		}
		rests(t, &app.poured)
		t.Logf("%d MiB left the application", app.poured.Load()>>20)
		grew(t, before, client, solo)
	})
	t.Run("upstream", func(t *testing.T) {
		before := resident(t, client, solo)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var sent atomic.Int64
		for range 8 {
			s := open(t, ctx, c, "Deaf")
			go func() {
				m := wrapperspb.String(strings.Repeat("x", 32<<10))
				for s.SendMsg(m) == nil {
					sent.Add(32 << 10)
				}
			}()
		}
		rests(t, &sent)
		t.Logf("%d MiB left the client", sent.Load()>>20)
		grew(t, before, client, solo)
	})
	if _, err := ask(t, c, "hello", soon); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	t.Run("HTTP/1.1", func(t *testing.T) {
		before := resident(t, client, solo)
		resp, err := versionClient(t, client, false).Get(fmt.Sprintf("http://solo/?size=%d", 1<<30))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		pause(2 * time.Second)
		grew(t, before, client, solo)
	})
}

// rests waits until a count does not grow any more.
func rests(t *testing.T, n *atomic.Int64) {
	t.Helper()
	last, since := n.Load(), time.Now()
	eventually(t, "the sender is held back", func() bool {
		if now := n.Load(); now != last {
			last, since = now, time.Now()
		}
		return last > 0 && time.Since(since) > 2*time.Second
	})
}

func resident(t *testing.T, pods ...*testmesh.Pod) []int64 {
	t.Helper()
	var all []int64
	for _, p := range pods {
		rss, err := p.SidecarRSS()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, rss)
	}
	return all
}

// grew holds the growth of sidecars below what the windows of a connection allow.
func grew(t *testing.T, before []int64, pods ...*testmesh.Pod) {
	t.Helper()
	const most = 64 << 20
	for i, rss := range resident(t, pods...) {
		t.Logf("%s: %d MiB, then %d MiB", pods[i].Name(), before[i]>>20, rss>>20)
		if rss-before[i] > most {
			t.Errorf("%s grew by %d MiB, want at most %d MiB", pods[i].Name(), (rss-before[i])>>20, most>>20)
		}
	}
}
