package initcmd_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/dnat"
)

// istioRules is a capture as istio-iptables writes it, with plain rules in built-in chains, to a wrong port.
const istioRules = `*nat
:ISTIO_INBOUND - [0:0]
:ISTIO_REDIRECT - [0:0]
:ISTIO_OUTPUT - [0:0]
:UNRELATED - [0:0]
-A PREROUTING -i eth0 -j RETURN
-A OUTPUT -o eth0 -j RETURN
-A PREROUTING -p tcp -j ISTIO_INBOUND
-A OUTPUT -p tcp -j ISTIO_OUTPUT
-A OUTPUT -p tcp -m tcp --dport 81 -j UNRELATED
-A OUTPUT -p tcp -m comment --comment "of somebody else" -m statistic --mode random --probability 0.5 -m multiport --dports 82,83 -j UNRELATED
-A ISTIO_OUTPUT -j ISTIO_REDIRECT
-A ISTIO_INBOUND -p tcp -j ISTIO_REDIRECT
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 19999
COMMIT
`

const istioTables = `table inet istio-proxy-nat {
	chain output {
		type nat hook output priority -100; policy accept;
		meta l4proto tcp redirect to :19999
	}
}
`

func (m *mesh) feed(t *testing.T, input string, command ...string) {
	t.Helper()
	if _, err := exec.LookPath(command[0]); err != nil {
		t.Skipf("%s is not installed", command[0])
	}
	m.pod.do(t, owner{}, func() error {
		cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
		cmd.Stdin = strings.NewReader(input)
		return cmd.Run()
	})
}

func TestRulesOfIstioAreReplacedAndOthersKept(t *testing.T) {
	sources := map[string][]string{
		"iptables-nft":    {"iptables-nft-restore", "--noflush"},
		"iptables-legacy": {"iptables-legacy-restore", "--noflush"},
		"nftables":        {"nft", "-f", "-"},
	}
	for name, command := range sources {
		t.Run("left by "+name, func(t *testing.T) {
			forEachBackend(t, func(t *testing.T, m *mesh, flag string) {
				input := istioRules
				if name == "nftables" {
					input = istioTables
				}
				m.feed(t, input, command...)
				m.mustInit(t, with(flag)...)
				far := farIPs[dnat.IPv4]
				check(t, []wantDial{{"app", m.pod, app, "", far, 80, "15001 " + hostPort(far, 80)}})
				rules := m.dump(t)
				if strings.Contains(rules, "19999") || strings.Contains(rules, "eth0") {
					t.Errorf("rules of Istio are left:\n%s", rules)
				}
				if name != "nftables" && !strings.Contains(rules, "UNRELATED") {
					t.Errorf("a rule that is nobody's to remove is gone:\n%s", rules)
				}
				m.mustInit(t, "--cleanup-only", flag)
				if rules := m.dump(t); strings.Contains(rules, "ISTIO") || strings.Contains(rules, "istio") {
					t.Errorf("left after clean-up:\n%s", rules)
				}
			})
		})
	}
}
