package apply

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestToolErrorsNameCauseAndRemedy(t *testing.T) {
	t.Parallel()
	exit := errors.New("exit status 2")
	tests := map[string]struct {
		stderr string
		kind   error
		remedy string
	}{
		"not root":        {"iptables v1.8.9 (legacy): can't initialize iptables table `nat': Permission denied (you must be root)", ErrPermission, "NET_ADMIN"},
		"no capability":   {"iptables-restore: Fetching rule set generation id: Permission denied (you must be root)", ErrPermission, "NET_ADMIN"},
		"no table":        {"ip6tables-restore v1.8.9 (legacy): ip6tables-restore: unable to initialize table 'nat'\n can't initialize ip6tables table `nat'", ErrUnsupported, "ip6table_"},
		"no owner match":  {"iptables-restore v1.8.9 (nf_tables): Couldn't load match `owner':No such file or directory", ErrUnsupported, "xt_owner"},
		"no kernel match": {"iptables-restore v1.8.9 (nf_tables): line 9: RULE_APPEND failed (No such file or directory): rule in chain X", ErrUnsupported, "load xt_owner"},
		"unknown":         {"the moon is in the wrong place", exit, "the moon"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := explainTool("iptables-restore", exit, tt.stderr)
			if !errors.Is(got, tt.kind) || !strings.Contains(got.Error(), tt.remedy) {
				t.Errorf("got %v, want a %v with %q", got, tt.kind, tt.remedy)
			}
		})
	}
}

func TestNetlinkErrorsNameCause(t *testing.T) {
	t.Parallel()
	for errno, want := range map[error]error{
		os.ErrPermission: ErrPermission, unix.EPERM: ErrPermission, unix.ENOENT: ErrUnsupported, unix.EOPNOTSUPP: ErrUnsupported,
	} {
		if got := explainNetlink("write", fmt.Errorf("wrapped: %w", errno)); !errors.Is(got, want) || !errors.Is(got, errno) {
			t.Errorf("for %v: got %v", errno, got)
		}
	}
}
