package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
)

// look is how often a sidecar is looked at.
const look = 2 * time.Millisecond

// pushes are istiod's log lines from now on.
type pushes struct{ log *os.File }

func (t *town) follow() (*pushes, error) {
	f, err := os.Open(t.mesh.LogFile("istiod"))
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &pushes{log: f}, nil
}

func (p *pushes) close() { _ = p.log.Close() }

// first finds when clusters were first pushed to a node. istiod writes the line once
// the push is in the hands of its transport.
func (p *pushes) first(node string) (time.Time, error) {
	lines := bufio.NewScanner(p.log)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		text := lines.Text()
		if strings.Contains(text, "CDS: PUSH") && strings.Contains(text, "node:"+node) {
			stamp, _, _ := strings.Cut(text, "\t")
			return time.Parse(time.RFC3339Nano, stamp)
		}
	}
	return time.Time{}, errors.Join(fmt.Errorf("istiod's log has no push of clusters to %s", node), lines.Err())
}

// capturePorts are those that captured traffic comes to, as /proc/net/tcp writes
// them, with the state of a listening socket.
var capturePorts = []string{":3A99 ", ":3A9E "} // 15001, 15006

const listening = " 0A "

// listens waits until a pod's sidecar has its capture ports open.
func listens(ctx context.Context, pod *testmesh.Pod) error {
	pause := time.NewTicker(look)
	defer pause.Stop()
	for {
		open, err := openPorts(pod.SidecarPID())
		if err == nil && open == len(capturePorts) {
			return nil
		}
		select {
		case <-pause.C:
		case <-pod.SidecarDone():
			return fmt.Errorf("sidecar ended:\n%s", pod.SidecarLog())
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("sidecar does not listen: %w\n%s", ctx.Err(), pod.SidecarLog()), err)
		}
	}
}

// openPorts counts the capture ports that are open where a process lives.
func openPorts(pid int) (int, error) {
	var text strings.Builder
	for _, name := range []string{"tcp", "tcp6"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, name))
		if err != nil && !os.IsNotExist(err) {
			return 0, err
		}
		text.Write(b)
	}
	return countOpen(text.String()), nil
}

func countOpen(table string) int {
	open := make(map[string]bool)
	for line := range strings.Lines(table) {
		for _, port := range capturePorts {
			if strings.Contains(line, port) && strings.Contains(line, listening) {
				open[port] = true
			}
		}
	}
	return len(open)
}
