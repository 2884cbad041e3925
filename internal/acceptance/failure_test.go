package acceptance_test

import (
	"bufio"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// underWay bounds how many requests a killed peer may take with it: those it had.
const underWay = senders

// luckless is how many requests may fail though others were alive: least request
// likes a dead endpoint, as nothing is under way there, and all retries may hit it.
func luckless(y *tally) int { return (y.Good + y.bad()) / 100 }

func TestMeshTrafficMovesOnWhenEndpointsDie(t *testing.T) {
	mesh := town(t)
	pods := mesh.Pods("client", "web-1", "web-2", "web-3")
	client := pods[0]

	t.Run("a sidecar is killed", func(t *testing.T) {
		running := startLoad(t, client, "http://web/", 500)
		eventually(t, "web-2 has its share", func() bool { return running.soFar().By["web-2"] > 50 })
		if err := pods[2].KillSidecar(); err != nil {
			t.Fatal(err)
		}
		pause(1500 * time.Millisecond)
		calm := running.soFar()
		pause(1500 * time.Millisecond)
		y := running.end()
		if y.bad() > underWay {
			t.Errorf("more failed than were under way: %v", y)
		}
		if late := y.bad() - calm.bad(); late > luckless(y) {
			t.Errorf("%d failed long after the kill: %v", late, y)
		}
		if y.By["web-1"] <= calm.By["web-1"] || y.By["web-3"] <= calm.By["web-3"] {
			t.Errorf("the others got nothing: %v", y.By)
		}
		t.Log(y)
	})
	t.Run("its sidecar comes back", func(t *testing.T) {
		if err := pods[2].StartSidecar(); err != nil {
			t.Fatal(err)
		}
		if err := pods[2].Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		running := startLoad(t, client, "http://web/", 200)
		eventually(t, "web-2 gets traffic again", func() bool { return running.soFar().By["web-2"] > 10 })
		running.lossless(t, 10)
	})
	t.Run("an application is killed", func(t *testing.T) {
		// By default 503 is not retried: the request may have been processed.
		apply(t, mesh, "retries", `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: web, namespace: town }
spec:
  hosts: [web.town.svc.cluster.local]
  http:
  - route: [{ destination: { host: web.town.svc.cluster.local } }]
    retries: { attempts: 3, retryOn: "connect-failure,refused-stream,reset,503" }
`)
		eventually(t, "the retry policy is in force", func() bool {
			return strings.Contains(string(client.Admin("/config_dump").Body), "connect-failure,refused-stream,reset")
		})
		running := startLoad(t, client, "http://web/", 500)
		eventually(t, "web-3 has its share", func() bool { return running.soFar().By["web-3"] > 50 })
		if err := pods[3].StopApp(); err != nil {
			t.Fatal(err)
		}
		pause(1500 * time.Millisecond)
		calm := running.soFar()
		pause(1500 * time.Millisecond)
		y := running.end()
		// Its sidecar answers 503, which is retried elsewhere.
		if y.bad() > underWay || y.bad()-calm.bad() > luckless(y) {
			t.Errorf("requests failed: %v, in the first half second %d", y, calm.bad())
		}
		t.Log(y)
		if err := pods[3].StartApp(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("all sidecars are killed and come back", func(t *testing.T) {
		for _, p := range pods[1:] {
			if err := p.KillSidecar(); err != nil {
				t.Fatal(err)
			}
		}
		r := client.Get("http://web/")
		if r.Status != 503 || !strings.Contains(string(r.Body), "remote connection failure") {
			t.Errorf("got %v", r)
		}
		for _, p := range pods[1:] {
			if err := p.StartSidecar(); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "requests succeed again", func() bool { return takes(client, "http://web/") })
	})
}

func TestMeshDrainLosesNothing(t *testing.T) {
	mesh := town(t)
	pods := mesh.Pods("client", "web-1", "web-2", "web-3", "solo")
	client, solo := pods[0], pods[4]
	plain := mesh.PlainPod("plain")

	t.Run("a sidecar among three ends under load", func(t *testing.T) {
		for n := range 3 {
			running := startLoad(t, client, "http://web/?delay=20ms", 400)
			eventually(t, "web-1 has its share", func() bool { return running.soFar().By["web-1"] > 30 })
			began := time.Now()
			if err := pods[1].StopSidecar(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			took := time.Since(began)
			pause(300 * time.Millisecond)
			y := running.end()
			refused := 0
			for what, n := range y.Bad {
				if strings.Contains(what, "remote connection failure") {
					refused += n
				}
			}
			// Nobody takes the endpoint out of the service here, and new requests
			// may meet its closed port.
			if y.bad() > refused || refused > luckless(y) {
				t.Errorf("round %d: requests failed: %v", n, y)
			}
			t.Logf("drained in %v: %v", took, y)
			if took > soon {
				t.Errorf("the drain took %v", took)
			}
			if err := pods[1].StartSidecar(); err != nil {
				t.Fatal(err)
			}
			if err := pods[1].Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("what is in flight is finished", func(t *testing.T) {
		direct := solo.Addr().String() + ":8080"
		c := dial(t, plain, direct)
		idle := dial(t, plain, direct)
		in := bufio.NewReader(c)
		send(t, c, "GET /flight?delay=3s HTTP/1.1\r\nHost: solo\r\n\r\n")
		upload := dial(t, plain, direct)
		send(t, upload, "POST /upload HTTP/1.1\r\nHost: solo\r\nContent-Length: 10\r\n\r\n12345")
		send(t, idle, "GET /idle HTTP/1.1\r\nHost: solo\r\n\r\n")
		idleIn := bufio.NewReader(idle)
		echoed(t, idleIn)
		eventually(t, "the application has the requests", func() bool { return len(established(t, solo, 8080)) >= 3 })
		pause(200 * time.Millisecond)
		if err := solo.SignalSidecar(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the readiness port says no or is gone", func() bool { code, _ := health(plain, solo); return code != 200 })
		send(t, upload, "67890")
		resp, got := echoed(t, bufio.NewReader(upload))
		if resp.StatusCode != 200 || got.BodyLength != 10 || !resp.Close {
			t.Errorf("the upload: got %d, %d bytes, close %v", resp.StatusCode, got.BodyLength, resp.Close)
		}
		resp, _ = echoed(t, in)
		if resp.StatusCode != http.StatusOK || !resp.Close {
			t.Errorf("got %d, close %v, want 200 and connection: close", resp.StatusCode, resp.Close)
		}
		if _, err := idleIn.ReadByte(); err == nil || strings.Contains(err.Error(), "timeout") {
			t.Errorf("the idle connection: got %v, want its end", err)
		}
		select {
		case <-solo.SidecarDone():
		case <-time.NewTimer(soon).C:
			t.Error("the sidecar does not end")
		}
		if log := solo.SidecarLog(); strings.Contains(log, "panic") || strings.Contains(log, "level=ERROR") {
			t.Errorf("got log %s", log)
		}
		if err := solo.StartSidecar(); err != nil {
			t.Fatal(err)
		}
		if err := solo.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("an endless TCP connection is cut when the time is up", func(t *testing.T) {
		c := dial(t, client, "solo:3308")
		if err := echoes(c); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := solo.SignalSidecar(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		pause(time.Second)
		if err := echoes(c); err != nil {
			t.Errorf("one second into the drain: %v", err)
		}
		select {
		case <-solo.SidecarDone():
		case <-time.NewTimer(soon).C:
			t.Error("the sidecar does not end")
		}
		t.Logf("ended after %v", time.Since(began))
	})
}
