// Package slab keeps many small byte records outside of the Go heap, compressed one by one.
//
// Life: Put appends a record to the current slab, an anonymous mapping, and returns a Ref without pointers; Bytes shows
// it; Free counts it as garbage; a slab without live records is unmapped at once, and Compact moves records out of
// sparse ones. A Packer compresses with a dictionary made from what istiod usually sends.
// It must not know what the records mean, and does no locking: the owner does.
package slab

import (
	"errors"
	"fmt"
	"math"

	"golang.org/x/sys/unix"
)

const (
	// slabSize is the size of an ordinary slab; its pages cost memory only when first written.
	slabSize = 1 << 20
	// maxSlabs bounds an arena to what a Ref can name.
	maxSlabs = math.MaxUint16
	// compactAt is the garbage from which compaction is worth its copying.
	compactAt = 1 << 20
)

// ErrFull is returned when an arena has no room for a record.
var ErrFull = errors.New("arena is full")

// Ref names a record; the zero Ref names none.
type Ref struct {
	Off  uint32
	Len  uint32
	slab uint16 // index plus one
}

// Arena is a set of slabs.
type Arena struct {
	slabs   []slab
	current int // index of the slab that is being filled, or -1
	live    int
	mapped  int
	used    int
}

// slab is one mapping.
type slab struct {
	mem    []byte
	used   int
	live   int
	victim bool
}

// NewArena returns an empty arena; nothing is mapped yet.
func NewArena() *Arena { return &Arena{current: -1} }

// Put stores the concatenation of two byte strings.
func (a *Arena) Put(head, body []byte) (Ref, error) {
	n := len(head) + len(body)
	if n > math.MaxInt32 {
		return Ref{}, ErrFull
	}
	i, err := a.room(n)
	if err != nil {
		return Ref{}, err
	}
	s := &a.slabs[i]
	r := Ref{slab: uint16(i + 1), Off: uint32(s.used), Len: uint32(n)}
	copy(s.mem[s.used:], head)
	copy(s.mem[s.used+len(head):], body)
	s.used += n
	s.live += n
	a.live += n
	a.used += n
	return r, nil
}

// room finds or maps a slab with n free bytes.
func (a *Arena) room(n int) (int, error) {
	if a.current >= 0 {
		if s := &a.slabs[a.current]; len(s.mem)-s.used >= n {
			return a.current, nil
		}
	}
	size := slabSize
	own := n > slabSize/2 // a large record gets a mapping of its own, and the current slab stays open
	if own {
		size = n
	}
	mem, err := Map(size)
	if err != nil {
		return 0, err
	}
	at := -1
	for i := range a.slabs {
		if a.slabs[i].mem == nil {
			at = i
			break
		}
	}
	if at < 0 {
		if len(a.slabs) >= maxSlabs {
			return 0, errors.Join(ErrFull, Unmap(mem))
		}
		a.slabs = append(a.slabs, slab{})
		at = len(a.slabs) - 1
	}
	a.slabs[at] = slab{mem: mem}
	a.mapped += len(mem)
	if !own {
		old := a.current
		a.current = at
		if old >= 0 {
			a.drop(old)
		}
	}
	return at, nil
}

// Bytes returns a record in place: valid until it is freed or the arena is compacted.
func (a *Arena) Bytes(r Ref) []byte {
	if r.slab == 0 {
		return nil
	}
	return a.slabs[r.slab-1].mem[r.Off : r.Off+r.Len : r.Off+r.Len]
}

// Free gives a record up.
func (a *Arena) Free(r Ref) {
	if r.slab == 0 {
		return
	}
	i := int(r.slab - 1)
	a.slabs[i].live -= int(r.Len)
	a.live -= int(r.Len)
	a.drop(i)
}

// drop unmaps slab i if nothing in it is alive and nothing will be put there.
func (a *Arena) drop(i int) {
	s := &a.slabs[i]
	if s.live > 0 || i == a.current || s.mem == nil {
		return
	}
	a.mapped -= len(s.mem)
	a.used -= s.used
	// An error would mean that the mapping is not ours: nothing sensible can be done but to forget it.
	_ = Unmap(s.mem)
	*s = slab{}
}

// Sparse reports whether compaction would give back a good part of the memory.
func (a *Arena) Sparse() bool { return a.used-a.live > max(compactAt, a.live/3) }

// Compact moves the records out of sparse slabs: each calls move with every Ref that is in use.
func (a *Arena) Compact(each func(move func(*Ref))) error {
	a.current = -1
	for i := range a.slabs {
		s := &a.slabs[i]
		s.victim = s.mem != nil && s.live < s.used*3/4
	}
	var failed error
	each(func(r *Ref) {
		if failed != nil || r.slab == 0 || !a.slabs[r.slab-1].victim {
			return
		}
		moved, err := a.Put(a.Bytes(*r), nil)
		if err != nil {
			failed = err
			return
		}
		old := *r
		*r = moved
		a.Free(old)
	})
	for i := range a.slabs {
		a.slabs[i].victim = false
		a.drop(i)
	}
	return failed
}

// Live counts the bytes of live records.
func (a *Arena) Live() int { return a.live }

// Used counts the bytes of live records and of garbage between them.
func (a *Arena) Used() int { return a.used }

// Mapped counts the address space of all slabs.
func (a *Arena) Mapped() int { return a.mapped }

// Close unmaps everything; no Ref is valid any more.
func (a *Arena) Close() error {
	var errs []error
	for i := range a.slabs {
		if a.slabs[i].mem != nil {
			errs = append(errs, Unmap(a.slabs[i].mem))
		}
	}
	*a = Arena{current: -1}
	return errors.Join(errs...)
}

// Map returns n bytes of zeroed memory that the Go heap does not know.
func Map(n int) ([]byte, error) {
	mem, err := unix.Mmap(-1, 0, max(n, 1), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes: %w", n, err)
	}
	return mem, nil
}

// Unmap gives back what Map returned; it must be the same slice.
func Unmap(mem []byte) error {
	if err := unix.Munmap(mem); err != nil {
		return fmt.Errorf("unmap: %w", err)
	}
	return nil
}
