package launch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"
)

// Exec becomes the program of s. It returns only an error.
func Exec(s *Spec) error {
	runtime.LockOSThread() // everything below belongs to this thread, and exec keeps it
	if s.NetNS != "" {
		if err := enter(s.NetNS); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
	}
	if s.Root != "" || len(s.Mounts) > 0 {
		if err := s.mount(); err != nil {
			return err
		}
	}
	if s.Dir != "" {
		if err := unix.Chdir(s.Dir); err != nil {
			return fmt.Errorf("chdir %s: %w", s.Dir, err)
		}
	}
	if err := s.drop(); err != nil {
		return fmt.Errorf("drop privileges: %w", err)
	}
	if err := diesWith(s.Parent); err != nil {
		return err
	}
	return fmt.Errorf("exec %s: %w", s.Argv[0], unix.Exec(s.Argv[0], s.Argv, s.Env))
}

func enter(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(unix.Setns(int(f.Fd()), unix.CLONE_NEWNET), f.Close())
}

// mount builds the program's view of the file system in a mount namespace of
// its own.
func (s *Spec) mount() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if s.Root == "" {
		for _, m := range s.Mounts {
			if err := bind(m.Source, m.Target, m.ReadOnly); err != nil {
				return err
			}
		}
		return nil
	}
	return s.pivot()
}

// devices are what a program may expect below /dev.
var devices = []string{"/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"}

// pivot makes the read-only root of s.
func (s *Spec) pivot() error {
	if err := unix.Mount("tmpfs", s.Root, "tmpfs", unix.MS_NOSUID, "mode=755"); err != nil {
		return fmt.Errorf("mount root: %w", err)
	}
	for _, m := range append(s.standard(), s.Mounts...) {
		if err := s.place(m); err != nil {
			return err
		}
	}
	for link, target := range s.Links {
		link = filepath.Join(s.Root, link)
		if err := errors.Join(os.MkdirAll(filepath.Dir(link), 0o755), os.Symlink(target, link)); err != nil {
			return err
		}
	}
	if err := unix.Mount("", s.Root, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID, ""); err != nil {
		return fmt.Errorf("make root read-only: %w", err)
	}
	if err := unix.Chdir(s.Root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil { // the old root ends up below the new one
		return fmt.Errorf("pivot root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave old root: %w", err)
	}
	return unix.Chdir("/")
}

func (s *Spec) standard() []Mount {
	mounts := []Mount{{Source: "/proc", Target: "/proc"}, {Source: "/sys", Target: "/sys", ReadOnly: true}}
	for _, d := range devices {
		mounts = append(mounts, Mount{Source: d, Target: d})
	}
	return mounts
}

// place makes the mount point of m inside the new root and binds it.
func (s *Spec) place(m Mount) error {
	fi, err := os.Stat(m.Source)
	if err != nil {
		return err
	}
	target := filepath.Join(s.Root, m.Target)
	if fi.IsDir() {
		err = os.MkdirAll(target, 0o755)
	} else if err = os.MkdirAll(filepath.Dir(target), 0o755); err == nil {
		err = os.WriteFile(target, nil, 0o644)
	}
	if err != nil {
		return err
	}
	return bind(m.Source, target, m.ReadOnly)
}

func bind(source, target string, readOnly bool) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s at %s: %w", source, target, err)
	}
	if !readOnly {
		return nil
	}
	if err := unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("make %s read-only: %w", target, err)
	}
	return nil
}

// drop gives up every privilege that s does not ask for, for good. The calls go
// to the kernel directly: only this thread survives the exec.
func (s *Spec) drop() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if !s.All || s.UID != 0 {
		for c := range unix.CAP_LAST_CAP + 1 {
			if s.UID == 0 && slices.Contains(s.Caps, c) {
				continue
			}
			err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0)
			if err != nil && !errors.Is(err, unix.EINVAL) { // an older kernel knows fewer
				return err
			}
		}
	}
	for _, call := range [][4]uintptr{
		{unix.SYS_SETGROUPS, 0, 0, 0},
		{unix.SYS_SETRESGID, uintptr(s.GID), uintptr(s.GID), uintptr(s.GID)},
		{unix.SYS_SETRESUID, uintptr(s.UID), uintptr(s.UID), uintptr(s.UID)},
	} {
		if _, _, errno := unix.RawSyscall(call[0], call[1], call[2], call[3]); errno != 0 {
			return errno
		}
	}
	return nil
}

// diesWith asks to be killed when the starting thread of the parent ends. It
// comes after the change of uid, which cancels it.
func diesWith(parent int) error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return err
	}
	if os.Getppid() != parent {
		return errors.New("parent is gone")
	}
	return nil
}
