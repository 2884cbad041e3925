package initcmd_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/dnat"
)

// fakeTools are the four commands, each running the script.
func fakeTools(t *testing.T, script string) (path string) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"iptables-save", "iptables-restore", "ip6tables-save", "ip6tables-restore"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestToolsThatDoNotWorkAreNotTrusted(t *testing.T) {
	tests := map[string]struct{ script, reason string }{
		"no kernel support": {
			`echo "iptables v1.8.7 (legacy): can't initialize iptables table 'nat': Table does not exist" >&2; exit 3`,
			"load the iptable_nat",
		},
		"succeeds without effect": {"exit 0", "reported success, but the rules are not in table nat"},
		"fails to restore":        {`case $0 in *restore) echo "line 3 failed" >&2; exit 1;; esac`, "line 3 failed"},
		"broken link":             {"exec /nowhere", "does not work"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := newMesh(t)
			code, log := m.init(t, []string{"PATH=" + fakeTools(t, tt.script)}, sidecarArgs...)
			if code != 0 || !strings.Contains(log, "backend=nftables") {
				t.Errorf("exit code %d, want 0 by netlink:\n%s", code, log)
			}
			if !strings.Contains(log, "level=WARN") || !strings.Contains(log, tt.reason) {
				t.Errorf("no warning with %q:\n%s", tt.reason, log)
			}
			far := farIPs[dnat.IPv4]
			check(t, []wantDial{{"app", m.pod, app, "", far, 80, "15001 " + hostPort(far, 80)}})
		})
	}
}
