package slab_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/outrigger-mesh/outrigger/xds/slab"
)

func TestRecordsSurviveCompaction(t *testing.T) {
	a := slab.NewArena()
	defer func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}()
	rnd := rand.New(rand.NewPCG(1, 2))
	want := map[int][]byte{}
	refs := map[int]slab.Ref{}
	for i := range 4000 {
		b := bytes.Repeat([]byte{byte(i)}, rnd.IntN(5000))
		if i == 77 {
			b = bytes.Repeat([]byte{7}, 3<<20) // larger than a slab
		}
		r, err := a.Put(b[:len(b)/2], b[len(b)/2:])
		if err != nil {
			t.Fatal(err)
		}
		want[i], refs[i] = b, r
		if i%3 > 0 {
			a.Free(refs[i-1])
			delete(want, i-1)
			delete(refs, i-1)
		}
		if a.Sparse() {
			if err := a.Compact(func(move func(*slab.Ref)) {
				for k, r := range refs {
					move(&r)
					refs[k] = r
				}
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	live := 0
	for i, b := range want {
		live += len(b)
		if !bytes.Equal(a.Bytes(refs[i]), b) {
			t.Fatalf("record %d is damaged", i)
		}
	}
	if a.Live() != live || a.Used() < live || a.Mapped() > 4*live+4<<20 {
		t.Errorf("live %d, want %d; used %d; mapped %d", a.Live(), live, a.Used(), a.Mapped())
	}
	for _, r := range refs {
		a.Free(r)
	}
	if a.Live() != 0 || a.Mapped() > 1<<20 {
		t.Errorf("%d bytes live, %d mapped after all was freed", a.Live(), a.Mapped())
	}
}

func FuzzPack(f *testing.F) {
	f.Add([]byte("envoy.filters.network.tcp_proxy"), []byte("x"))
	f.Add([]byte{}, []byte{})
	f.Add(bytes.Repeat([]byte("outbound|80||"), 10_000), []byte{1, 2, 3})
	p, err := slab.NewPacker()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b, before []byte) {
		packed := p.Pack(nil, b)
		got, err := p.Unpack(append([]byte(nil), before...), packed, len(b))
		if err != nil || !bytes.Equal(got, append(append([]byte(nil), before...), b...)) {
			t.Fatalf("got %x, %v, want %x", got, err, b)
		}
		if _, err := p.Unpack(nil, packed, len(b)+1); err == nil {
			t.Fatal("a wrong size was accepted")
		}
	})
}
