package main_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// build makes the binary as it ships and puts it alone into a directory that serves as a whole image.
func build(t *testing.T) (root string) {
	t.Helper()
	root = t.TempDir()
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(root, "init"), ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return root
}

// runBare runs the binary in a new network namespace with nothing but itself in its file system.
func runBare(t *testing.T, root string, user *syscall.Credential, args ...string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/init", args...)
	cmd.Dir, cmd.Env = "/", []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: user, Cloneflags: syscall.CLONE_NEWNET}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

func TestBareImage(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("OUTRIGGER_MUST_MESH") == "1" {
			t.Fatal("needs root to create network namespaces")
		}
		t.Skip("needs root to create network namespaces")
	}
	root := build(t)
	args := []string{"istio-iptables", "-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT", "-i", "*", "-x", "", "-b", "*", "-d", "15090,15021,15020"}
	tests := map[string]struct {
		user *syscall.Credential
		args []string
		code int
		want []string
	}{
		"applies by netlink": {nil, args, 0, []string{"backend=nftables changed=true"}},
		"both families":      {nil, append(args, "--dual-stack"), 0, []string{"capture applied"}},
		"cleans up":          {nil, []string{"--cleanup-only"}, 0, []string{"capture removed"}},
		"dry run of a nobody": {
			&syscall.Credential{Uid: 1000, Gid: 1000}, append(args, "-n"), 0,
			[]string{"# all other outbound TCP\n-A ISTIO_OUTPUT -j ISTIO_REDIRECT\n", "ip6tables-restore"},
		},
		"dry run in nft":     {nil, append(args, "-n", "--native-nftables"), 0, []string{"table ip outrigger-nat {"}},
		"without privileges": {&syscall.Credential{Uid: 1000, Gid: 1000}, args, 3, []string{"NET_ADMIN"}},
		"wrong port":         {nil, []string{"-b", "99999"}, 1, []string{"--istio-inbound-ports", "99999"}},
		"unknown flag":       {nil, []string{"--wrong"}, 1, []string{"unknown flag --wrong", "--help"}},
		"tproxy":             {nil, []string{"-m", "TPROXY"}, 1, []string{"TPROXY is not supported"}},
		"help":               {nil, []string{"--help"}, 0, []string{"--istio-inbound-ports", "126"}},
		"version":            {nil, []string{"--version"}, 0, []string{"unknown"}},
		"no tools":           {nil, []string{"--force-iptables-binary=nft"}, 4, []string{"iptables-nft-save"}},
		"no namespace":       {nil, []string{"--network-namespace", "/nowhere"}, 2, []string{"open network namespace"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			code, out := runBare(t, root, tt.user, tt.args...)
			if code != tt.code {
				t.Errorf("exit code %d, want %d\n%s", code, tt.code, out)
			}
			for _, want := range tt.want {
				if !strings.Contains(out, want) {
					t.Errorf("output lacks %q:\n%s", want, out)
				}
			}
		})
	}
}
