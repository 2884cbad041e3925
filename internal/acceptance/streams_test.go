package acceptance_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
)

// steady asks again and again until it is ended, and holds what failed.
type steady struct {
	stop chan struct{} // closed by end

	done sync.WaitGroup
	good atomic.Int64

	mu    sync.Mutex
	wrong []string // guarded by mu
}

// keepAsking starts some that ask without a break; each question says what is wrong.
func keepAsking(t *testing.T, at int, question func() error) *steady {
	t.Helper()
	s := &steady{stop: make(chan struct{})}
	for range at {
		s.done.Go(func() {
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for {
				if err := question(); err != nil {
					s.mu.Lock()
					s.wrong = append(s.wrong, time.Now().Format(time.StampMilli)+" "+err.Error())
					s.mu.Unlock()
				} else {
					s.good.Add(1)
				}
				select {
				case <-tick.C:
				case <-s.stop:
					return
				}
			}
		})
	}
	t.Cleanup(func() { s.ends() })
	return s
}

// ends stops the asking and returns what failed.
func (s *steady) ends() []string {
	s.mu.Lock()
	select {
	case <-s.stop:
	default:
		close(s.stop)
	}
	s.mu.Unlock()
	s.done.Wait()
	return s.wrong
}

// conversation is one bidirectional stream that goes on for the whole test.
type conversation struct {
	stream grpc.ClientStream
	said   int
}

func converse(t *testing.T, c *grpc.ClientConn) *conversation {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	s, err := c.NewStream(ctx, &words.Streams[0], "/test.Words/Chat")
	if err != nil {
		t.Fatal(err)
	}
	return &conversation{stream: s}
}

// say sends a word and waits for it to come back.
func (c *conversation) say() error {
	want := fmt.Sprintf("%d %s", c.said, strings.Repeat("x", c.said%4000))
	c.said++
	if err := c.stream.SendMsg(wrapperspb.String(want)); err != nil {
		return fmt.Errorf("message %d: %w", c.said, err)
	}
	got := new(wrapperspb.StringValue)
	if err := c.stream.RecvMsg(got); err != nil {
		return fmt.Errorf("answer %d: %w", c.said, err)
	}
	if got.GetValue() != want {
		return fmt.Errorf("answer %d: got %.20q, want %.20q", c.said, got.GetValue(), want)
	}
	return nil
}

func TestMeshStreamsOutliveIstiodAndCertificates(t *testing.T) {
	const life = 20 * time.Second
	mesh := town(t, testmesh.WithCertTTL(life))
	apply(t, mesh, "strict", peerAuthentication("STRICT", ""))
	pods := mesh.Pods("client", "solo")
	client, solo := pods[0], pods[1]
	plain := mesh.PlainPod("prober")
	serveRPC(t, solo, 9000)
	serveVersions(t, solo, 9001, false)
	apply(t, mesh, "rpc", rpcEntry)
	rpc := dialRPC(t, client, "rpc:9000")
	eventually(t, "a call succeeds", func() bool {
		_, err := ask(t, rpc, "hello", soon)
		return err == nil
	})

	web := versionClient(t, client, true)
	talk := converse(t, rpc)
	conversing := keepAsking(t, 1, talk.say)
	calling := keepAsking(t, 4, func() error {
		_, err := ask(t, rpc, "hello", soon)
		return err
	})
	asking := keepAsking(t, 4, func() error { return getsTwo(web, "http://rpc:9001/") })
	during := func(what string, happen func()) {
		t.Run(what, func(t *testing.T) {
			before := conversing.good.Load()
			happen()
			eventually(t, "the conversation goes on", func() bool { return conversing.good.Load() > before+10 })
		})
	}
	during("certificates rotate", func() {
		for range 3 {
			old := serial(t, mesh, plain, solo)
			eventually(t, "another certificate", func() bool { return serial(t, mesh, plain, solo) != old })
		}
	})
	during("istiod is killed and started again", func() {
		kill(t, mesh)
		pause(2 * time.Second)
		start(t, mesh)
		reconnected(t, mesh, pods...)
	})
	during("istiod is away while a certificate runs out", func() {
		kill(t, mesh)
		pause(life)
		start(t, mesh)
		reconnected(t, mesh, pods...)
		old := serial(t, mesh, plain, solo)
		eventually(t, "another certificate", func() bool { return serial(t, mesh, plain, solo) != old })
	})
	for what, s := range map[string]*steady{"conversation": conversing, "gRPC calls": calling, "HTTP/2 requests": asking} {
		wrong := s.ends()
		if len(wrong) > 0 || s.good.Load() < 100 {
			t.Errorf("%s: %d went well, %d did not, first: %s", what, s.good.Load(), len(wrong), strings.Join(wrong[:min(3, len(wrong))], "\n"))
		}
		t.Logf("%s: %d", what, s.good.Load())
	}
	if err := talk.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := talk.stream.RecvMsg(new(wrapperspb.StringValue)); err != io.EOF { //nolint:errorlint // gRPC returns it bare
		t.Errorf("the conversation ended with %v", err)
	}
}

// getsTwo asks an application of serveVersions, and wants HTTP/2.
func getsTwo(c *http.Client, url string) error {
	resp, err := c.Get(url)
	if err != nil {
		return err
	}
	b, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusOK || string(b) != "HTTP/2.0" {
		return fmt.Errorf("got %d %.80q, %w", resp.StatusCode, b, err)
	}
	return nil
}
