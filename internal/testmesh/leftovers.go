package testmesh

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/outrigger-mesh/outrigger/internal/testmesh/netns"
)

// perNamespace is where iproute2 looks for files of a namespace.
const perNamespace = "/etc/netns"

// RemoveLeftovers removes the namespaces, their files and processes, and the
// temporary folders of meshes whose owner is dead. Meshes of living processes,
// ours among them, are not touched.
func RemoveLeftovers() error {
	var errs []error
	for _, name := range deadIn(netns.Dir) {
		errs = append(errs, killInside(filepath.Join(netns.Dir, name)), netns.Remove(name))
	}
	for _, dir := range []string{perNamespace, os.TempDir()} {
		for _, name := range deadIn(dir) {
			errs = append(errs, os.RemoveAll(filepath.Join(dir, name)))
		}
	}
	return errors.Join(errs...)
}

// deadIn returns the names in a folder that belong to a dead owner.
func deadIn(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // no such folder, nothing left in it
	}
	var names []string
	for _, e := range entries {
		if pid, start, ok := owner(e.Name()); ok && !alive(pid, start) {
			names = append(names, e.Name())
		}
	}
	return names
}

// owner reads process id and start time from a name made by runName.
func owner(name string) (pid int, start string, ok bool) {
	rest, ok := strings.CutPrefix(name, runPrefix)
	parts := strings.SplitN(rest, "-", 4)
	if !ok || len(parts) < 3 {
		return 0, "", false
	}
	pid, err := strconv.Atoi(parts[0])
	if err != nil || pid <= 0 {
		return 0, "", false
	}
	for _, number := range parts[1:3] {
		if _, err := strconv.ParseUint(number, 10, 64); err != nil {
			return 0, "", false
		}
	}
	return pid, parts[1], true
}

func alive(pid int, start string) bool {
	got, err := startTime(pid)
	return err == nil && got == start
}

// killInside kills the processes of a namespace.
func killInside(path string) error {
	inside, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // another start was quicker
	}
	if err != nil {
		return err
	}
	homes, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		return err
	}
	var errs []error
	for _, home := range homes {
		fi, err := os.Stat(home)
		if err != nil || !os.SameFile(fi, inside) {
			continue // ended meanwhile, or elsewhere
		}
		pid, err := strconv.Atoi(strings.Split(home, "/")[2])
		if err != nil {
			continue
		}
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// removeNamespaceFiles removes what linkNamespaceFiles made.
func removeNamespaceFiles(name string) error {
	err := os.RemoveAll(filepath.Join(perNamespace, name))
	_ = os.Remove(perNamespace) // only if nobody else uses it
	return err
}

// linkNamespaceFiles lets `ip netns exec NAME` see the mesh's names.
func linkNamespaceFiles(name string, files map[string]string) error {
	dir := filepath.Join(perNamespace, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for file, target := range files {
		if err := os.Symlink(target, filepath.Join(dir, file)); err != nil {
			return err
		}
	}
	return nil
}
