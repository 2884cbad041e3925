package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestPushTimeIsTheFirstOfTheNode(t *testing.T) {
	t.Parallel()
	const log = "2026-01-02T03:04:05.000001Z\tinfo\tads\tCDS: PUSH for node:envoy.bench resources:9\n" +
		"2026-01-02T03:04:06.000002Z\tinfo\tads\tLDS: PUSH for node:outrigger.bench resources:9\n" +
		"2026-01-02T03:04:07.000003Z\tinfo\tads\tCDS: PUSH for node:outrigger.bench resources:9\n" +
		"2026-01-02T03:04:08.000004Z\tinfo\tads\tCDS: PUSH for node:outrigger.bench resources:9\n"
	open := func() *pushes {
		name := filepath.Join(t.TempDir(), "istiod.log")
		if err := os.WriteFile(name, []byte(log), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		p := &pushes{log: f}
		t.Cleanup(p.close)
		return p
	}
	got, err := open().first("outrigger.bench")
	if want := time.Date(2026, 1, 2, 3, 4, 7, 3000, time.UTC); !got.Equal(want) || err != nil {
		t.Errorf("got %v and %v, want %v", got, err, want)
	}
	if _, err := open().first("absent.bench"); err == nil {
		t.Error("a push that never was is found")
	}
}

func TestListeningMeansBothCapturePorts(t *testing.T) {
	t.Parallel()
	const (
		head     = "  sl  local_address rem_address   st tx_queue rx_queue\n"
		outbound = "   0: 00000000:3A99 00000000:0000 0A 00000000:00000000 00:00000000\n"
		inbound  = "   1: 00000000000000000000000000000000:3A9E 00000000000000000000000000000000:0000 0A 00000000:00000000\n"
		caller   = "   2: 0100007F:3A9E 0100007F:C350 01 00000000:00000000 00:00000000\n"
	)
	for _, c := range []struct {
		name, table string
		want        int
	}{
		{"nothing", head, 0},
		{"one", head + outbound, 1},
		{"one twice", head + outbound + outbound, 1},
		{"a connection is not a listener", head + outbound + caller, 1},
		{"both", head + outbound + inbound, 2},
	} {
		if got := countOpen(c.table); got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, got, c.want)
		}
	}
}
