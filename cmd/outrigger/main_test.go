package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestCommandsTellHowTheyAreUsed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args   []string
		code   int
		stdout string
		stderr string
	}{
		{nil, 2, "", "usage: outrigger COMMAND"},
		{[]string{"help"}, 0, "usage: outrigger COMMAND", ""},
		{[]string{"--help"}, 0, "usage: outrigger COMMAND", ""},
		{[]string{"version"}, 0, "unknown", ""},
		{[]string{"proxy", "--help"}, 0, "--meshConfig", ""},
		{[]string{"proxy", "sidecar", "-h"}, 0, "usage: outrigger proxy sidecar", ""},
		{[]string{"istio-iptables", "--help"}, 0, "--istio-inbound-ports", ""},
		{[]string{"bench", "--help"}, 0, "usage: outrigger bench", ""},
		{[]string{"bench", "--rouns=3"}, 2, "", "-rouns\nRun it with --help"},
		{[]string{"serve"}, 2, "", `unknown command "serve"`},
		{[]string{"proxy", "router"}, 1, "", "only the role"},
		{[]string{"bench", "-case", "nothing"}, 2, "", `no case "nothing"`},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), c.args, &stdout, &stderr); code != c.code {
			t.Errorf("%q: exit code %d, want %d", c.args, code, c.code)
		}
		if !strings.Contains(stdout.String(), c.stdout) || c.stdout == "" && stdout.Len() > 0 {
			t.Errorf("%q: standard output is %q, want %q", c.args, stdout.String(), c.stdout)
		}
		if !strings.Contains(stderr.String(), c.stderr) || c.stderr == "" && stderr.Len() > 0 {
			t.Errorf("%q: standard error is %q, want %q", c.args, stderr.String(), c.stderr)
		}
	}
}
