// Package netns makes named network namespaces and runs socket calls inside them.
//
// A namespace is created by Create, which binds it below /run/netns, so that
// `ip netns exec NAME` reaches it too. Do enters it with one locked thread and
// comes back; Dial and Listen are Do with a socket call in it: the socket stays
// in the namespace whatever thread uses it later. Remove unbinds the name; the
// kernel frees the namespace when its last process and socket are gone.
//
// It knows nothing of meshes, pods or addresses.
package netns

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// Dir is where named namespaces are bound; iproute2 uses the same folder.
const Dir = "/run/netns"

// Namespace is a named network namespace held open by a descriptor.
type Namespace struct {
	// immutable
	name string
	file *os.File
}

// Create makes a new namespace of this name with its loopback still down.
func Create(name string) (*Namespace, error) {
	if err := os.MkdirAll(Dir, 0o755); err != nil {
		return nil, err
	}
	path := filepath.Join(Dir, name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	err = visit(func() error { return unix.Unshare(unix.CLONE_NEWNET) }, func() error {
		return unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create network namespace %s: %w", name, err), os.Remove(path))
	}
	return Open(name)
}

// Open opens an existing namespace by name.
func Open(name string) (*Namespace, error) {
	f, err := os.Open(filepath.Join(Dir, name))
	if err != nil {
		return nil, err
	}
	return &Namespace{name: name, file: f}, nil
}

// Name returns the name below Dir.
func (n *Namespace) Name() string { return n.name }

// Path returns the file the namespace is bound to.
func (n *Namespace) Path() string { return filepath.Join(Dir, n.name) }

// FD returns the descriptor that holds the namespace; it stays owned by n.
func (n *Namespace) FD() int { return int(n.file.Fd()) }

// Do runs f on a thread inside the namespace. f must not start goroutines that
// rely on being there. The thread is given back only after it has returned to
// its own namespace; if that fails it is ended.
func (n *Namespace) Do(f func() error) error {
	enter := func() error { return unix.Setns(n.FD(), unix.CLONE_NEWNET) }
	return visit(enter, f)
}

// visit calls enter and then f on one locked thread and restores its namespace.
func visit(enter, f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := roundTrip(enter, f)
		if home {
			runtime.UnlockOSThread() // otherwise the thread ends with this goroutine
		}
		result <- err
	}()
	return <-result
}

// roundTrip reports whether the thread is back where it was, and f's error.
func roundTrip(enter, f func() error) (home bool, err error) {
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return true, err
	}
	defer own.Close()
	if err := enter(); err != nil {
		return true, err
	}
	err = f()
	if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); back != nil {
		return false, errors.Join(err, fmt.Errorf("leave network namespace: %w", back))
	}
	return true, err
}

// Dial connects from inside the namespace. addr must be a literal IP and port:
// a name would be resolved by goroutines outside.
func (n *Namespace) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var c net.Conn
	err := n.Do(func() (err error) {
		var d net.Dialer
		c, err = d.DialContext(ctx, network, addr)
		return err
	})
	return c, err
}

// Listen listens inside the namespace on a literal IP and port.
func (n *Namespace) Listen(ctx context.Context, network, addr string) (net.Listener, error) {
	var l net.Listener
	err := n.Do(func() (err error) {
		var lc net.ListenConfig
		l, err = lc.Listen(ctx, network, addr)
		return err
	})
	return l, err
}

// Close gives up the descriptor and leaves the name.
func (n *Namespace) Close() error { return n.file.Close() }

// Remove unbinds a name; it is no error if there is none.
func Remove(name string) error {
	path := filepath.Join(Dir, name)
	err := unix.Unmount(path, unix.MNT_DETACH)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		err = nil // not a mount: a creation that did not get that far
	}
	rm := os.Remove(path)
	if errors.Is(rm, fs.ErrNotExist) {
		rm = nil
	}
	return errors.Join(err, rm)
}
