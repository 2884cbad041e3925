// Package launch starts a program the way a container runtime would: in a
// network namespace, with a private view of the file system, under a uid
// without capabilities.
//
// The parent writes a Spec and calls Starter.Start, which runs the small helper
// program with it; the helper (Exec) enters the namespace, builds the view,
// drops what it may not keep and becomes the wanted program, so that the
// process id is the program's own. All children are started from one thread
// that lives as long as the Starter and are killed by the kernel if that thread
// ends: nothing survives its owner.
//
// It knows nothing of meshes: what to mount and which uid to use is in the Spec.
package launch

import (
	"encoding/json"
	"errors"
	"os"
)

// Mount puts the file or folder Source at Target.
type Mount struct {
	Source   string
	Target   string
	ReadOnly bool `json:",omitempty"`
}

// Spec says how a program is to be started.
type Spec struct {
	NetNS string // file of the network namespace; empty: stay

	// View of the file system. With Root, an empty folder, the program sees a
	// read-only root with nothing but Mounts, Links and a small /dev and /proc;
	// without it, the host's files with Mounts laid over them.
	Root   string            `json:",omitempty"`
	Mounts []Mount           `json:",omitempty"`
	Links  map[string]string `json:",omitempty"` // with Root: link → target

	UID  int
	GID  int
	Caps []int `json:",omitempty"` // capabilities that uid 0 keeps; others keep none
	All  bool  `json:",omitempty"` // keep every capability (uid 0 only)

	Dir  string `json:",omitempty"` // working directory, in the program's view
	Argv []string
	Env  []string

	Parent int // set by Starter: the process without which the program must not live
}

// errNoProgram is returned for a Spec without Argv.
var errNoProgram = errors.New("no program to start")

func (s Spec) encode() (string, error) {
	if len(s.Argv) == 0 {
		return "", errNoProgram
	}
	s.Parent = os.Getpid()
	b, err := json.Marshal(s)
	return string(b), err
}

// Decode reads what a Starter handed to the helper program.
func Decode(text string) (*Spec, error) {
	s := new(Spec)
	if err := json.Unmarshal([]byte(text), s); err != nil {
		return nil, err
	}
	if len(s.Argv) == 0 {
		return nil, errNoProgram
	}
	return s, nil
}
