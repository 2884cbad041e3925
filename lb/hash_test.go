package lb

import (
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestHashIsXXH64 holds the vectors of Envoy's own test, and those of the xxHash
// specification's sanity check for long inputs.
func TestHashIsXXH64(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]uint64{
		"": 17241709254077376921, "foo": 3728699739546630719, "bar": 5234164152756840025,
		"foo\nbar": 8917841378505826757, "lyft": 4400747396090729504,
	} {
		if got := Hash(key, 0); got != want {
			t.Errorf("%q: got %d, want %d", key, got, want)
		}
		if got := Hash([]byte(key), 0); got != want {
			t.Errorf("bytes of %q: got %d, want %d", key, got, want)
		}
	}
	if got, want := Hash("bar", Hash("foo", 0)), uint64(17745830980996999794); got != want {
		t.Errorf("of two parts: got %d, want %d", got, want)
	}
	// The sanity check's bytes: the top byte of a generator that is multiplied on.
	sanity := make([]byte, 222)
	gen := uint64(2654435761)
	for i := range sanity {
		sanity[i] = byte(gen >> 56)
		gen *= 11400714785074694797
	}
	const prime32 = 2654435761
	for _, tt := range []struct {
		n          int
		seed, want uint64
	}{
		{0, prime32, 0xAC75FDA2929B17EF},
		{1, 0, 0xE934A84ADB052768},
		{1, prime32, 0x5014607643A9B4C3},
		{4, 0, 0x9136A0DCA57457EE},
		{14, 0, 0x8282DCC4994E35C8},
		{14, prime32, 0xC3BD6BF63DEB6DF0},
		{222, 0, 0xB641AE8CB691C174},
		{222, prime32, 0x20CB8AB7AE10C14A},
	} {
		if got := Hash(sanity[:tt.n], tt.seed); got != tt.want {
			t.Errorf("%d bytes, seed %d: got %x, want %x", tt.n, tt.seed, got, tt.want)
		}
	}
}

// TestMurmurIsLibstdcxx holds the vectors of Envoy's own test.
func TestMurmurIsLibstdcxx(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]uint64{
		"": 6142509188972423790, "foo": 9631199822919835226, "bar": 11474628671133349555, "foo\nbar": 16306510975912980159,
		"lyft": 12847078931730529320, "longer than seven chars": 15194079855121201171,
	} {
		if got := murmur2([]byte(key), murmurSeed); got != want {
			t.Errorf("%q: got %d, want %d", key, got, want)
		}
	}
}

// local makes endpoints on ports of loopback.
func local(ports ...int) []EndpointSpec {
	var specs []EndpointSpec
	for _, p := range ports {
		specs = append(specs, EndpointSpec{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(p))})
	}
	return specs
}

// TestRingIsEnvoys holds the rings that Envoy's unit tests print.
func TestRingIsEnvoys(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		how   Hashing
		specs []EndpointSpec
		want  string
	}{
		"xxHash": {Hashing{MinRing: 12}, local(90, 91, 92, 93, 94, 95), `
			94 833437586790550860   92 928266305478181108    90 1033482794131418490  95 3551244743356806947
			93 3851675632748031481  91 5583722120771150861   91 6311230543546372928  93 7700377290971790572
			95 13144177310400110813 92 13444792449719432967  94 15516499411664133160 90 16117243373044804889`},
		"Murmur": {Hashing{MinRing: 12, Murmur: true}, local(80, 81, 82, 83, 84, 85), `
			85 1358027074129602068  83 4361834613929391114   84 7224494972555149682  81 7701421856454313576
			82 8649315368077433379  84 8739448859063030639   81 9887544217113020895  82 10150910876324007731
			83 15168472011420622455 80 15427156902705414897  85 16375050414328759093 80 17613279263364193813`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set := NewSet(nil, tt.specs, Policy{Kind: RingHash, Hashing: tt.how})
			x := set.shares[0].table.built()
			var got []string
			for i, h := range x.ring {
				e := set.Endpoints()[x.owners.at(i)]
				got = append(got, strconv.Itoa(int(e.Addr().Port())), strconv.FormatUint(h, 10))
			}
			if want := strings.Fields(tt.want); !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

// TestRingIsSearchedAsEnvoyDoes holds the look-ups of Envoy's unit tests.
func TestRingIsSearchedAsEnvoyDoes(t *testing.T) {
	t.Parallel()
	set := NewSet(nil, local(90, 91, 92, 93, 94, 95), Policy{Kind: RingHash, Hashing: Hashing{MinRing: 12}})
	for _, tt := range []struct {
		hash  uint64
		tried int // of the first picks
		want  uint16
	}{
		{0, 0, 94},
		{math.MaxUint64, 0, 94},
		{3551244743356806947, 0, 95},
		{3551244743356806948, 0, 93},
		{16117243373044804880, 0, 90},
		{0, 1, 92},
		{0, 2, 90},
		{math.MaxUint64, 1, 92},
	} {
		h := Hint{Hash: tt.hash, Hashed: true, MaxPicks: 6}
		for range tt.tried {
			e, err := set.Pick(&h)
			if err != nil {
				t.Fatal(err)
			}
			h.Tried = append(h.Tried, e)
		}
		e, err := set.Pick(&h)
		if err != nil || e.Addr().Port() != tt.want {
			t.Errorf("hash %d after %d tries: got %v, %v; want port %d", tt.hash, tt.tried, e.Addr(), err, tt.want)
		}
	}
}

// TestMaglevIsEnvoys holds the tables that Envoy's unit tests expect.
func TestMaglevIsEnvoys(t *testing.T) {
	t.Parallel()
	named := local(90, 91, 92, 93, 94, 95)
	keyed := local(90, 91, 92, 93, 94, 95)
	for i := range named {
		named[i].Hostname = strconv.Itoa(90 + i)
		keyed[i].HashKey = strconv.Itoa(90 + i)
	}
	for name, tt := range map[string]struct {
		how   Hashing
		specs []EndpointSpec
		want  []int
	}{
		"by address":  {Hashing{TableSize: 7}, named, []int{2, 4, 0, 1, 5, 0, 3}},
		"by hostname": {Hashing{TableSize: 7, ByHostname: true}, named, []int{2, 5, 0, 3, 4, 1, 0}},
		"by hash key": {Hashing{TableSize: 7}, keyed, []int{2, 5, 0, 3, 4, 1, 0}},
		"balanced":    {Hashing{TableSize: 7, ByHostname: true, BalanceFactor: 200}, named, []int{2, 5, 0, 3, 4, 1, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set := NewSet(nil, tt.specs, Policy{Kind: Maglev, Hashing: tt.how})
			for i := range 3 * len(tt.want) {
				e, err := set.Pick(&Hint{Hash: uint64(i), Hashed: true})
				if want := set.Endpoints()[tt.want[i%len(tt.want)]]; err != nil || e != want {
					t.Errorf("hash %d: got %v, %v; want %v", i, e.Addr(), err, want.Addr())
				}
			}
		})
	}
}

// TestTwisterIsMT19937 holds the numbers that C++ prescribes: the 10000th of the
// default seed is 4123659995.
func TestTwisterIsMT19937(t *testing.T) {
	t.Parallel()
	var r twister
	r.seed(5489)
	for range 9999 {
		r.next()
	}
	if got := r.next(); got != 4123659995 {
		t.Errorf("got %d, want 4123659995", got)
	}
}

func TestBalancedKeysLeaveTheLaden(t *testing.T) {
	t.Parallel()
	for _, kind := range []Kind{RingHash, Maglev} {
		set := NewSet(nil, local(90, 91, 92, 93), Policy{Kind: kind, Hashing: Hashing{BalanceFactor: 125}})
		h := Hint{Hash: Hash("some key", 0), Hashed: true}
		spread := make(map[*Endpoint]int)
		for i := range 400 {
			h.Active = int64(i)
			e, err := set.Pick(&h)
			if err != nil {
				t.Fatal(err)
			}
			e.Acquire()
			spread[e]++
		}
		for e, n := range spread {
			if n > 127 { // 125% of 100, one more to notice, and the rounding of slots
				t.Errorf("%v: %v has %d of 400 requests of one key", kind, e.Addr(), n)
			}
		}
	}
}

// TestPrioritiesFollowTheHash: a key stays with its priority.
func TestPrioritiesFollowTheHash(t *testing.T) {
	t.Parallel()
	specs := local(90, 91, 92)
	specs[1].Health, specs[2].Priority = Unhealthy, 1 // 70% and 30%
	set := NewSet(nil, specs, Policy{Kind: RingHash})
	for hash := range uint64(200) {
		want := set.Endpoints()[0]
		if hash%100 >= 70 {
			want = set.Endpoints()[2]
		}
		if e, err := set.Pick(&Hint{Hash: hash, Hashed: true}); err != nil || e != want {
			t.Errorf("hash %d: got %v, %v; want %v", hash, e.Addr(), err, want.Addr())
		}
	}
}

func TestRingFollowsWeights(t *testing.T) {
	t.Parallel()
	specs := local(90, 91, 92, 93)
	for i := range specs {
		specs[i].Weight = uint32(i)
		specs[i].Locality, specs[i].LocalityWeight = strconv.Itoa(i%2), uint32(3-2*(i%2)) // 3 to 1
	}
	for _, kind := range []Kind{RingHash, Maglev} {
		for weighted, want := range map[bool][]float64{
			false: {1. / 7, 1. / 7, 2. / 7, 3. / 7}, // a weight of 0 counts as 1
			true:  {3. / 4 / 3, 1. / 4 / 4, 3. / 4 * 2 / 3, 1. / 4 * 3 / 4},
		} {
			set := NewSet(nil, specs, Policy{Kind: kind, LocalityWeighted: weighted, Hashing: Hashing{MinRing: 65536}})
			got := make(map[*Endpoint]float64)
			const n = 40000
			for i := range n {
				e, err := set.Pick(&Hint{Hash: Hash(strconv.Itoa(i), 0), Hashed: true})
				if err != nil {
					t.Fatal(err)
				}
				got[e] += 1. / n
			}
			for i, e := range set.Endpoints() {
				if math.Abs(got[e]-want[i]) > 0.02 {
					t.Errorf("%v, weighted %v: %v got %.3f, want %.3f", kind, weighted, e.Addr(), got[e], want[i])
				}
			}
		}
	}
}

func TestUnhashedRequestsGoAnywhere(t *testing.T) {
	t.Parallel()
	set := NewSet(nil, local(90, 91, 92), Policy{Kind: Maglev})
	seen := make(map[*Endpoint]bool)
	for range 200 {
		e, err := set.Pick(&Hint{})
		if err != nil {
			t.Fatal(err)
		}
		seen[e] = true
	}
	if len(seen) != 3 {
		t.Errorf("200 picks reached %d of 3 endpoints", len(seen))
	}
}

func TestTablesAreSharedWhileNothingChanges(t *testing.T) {
	t.Parallel()
	p := Policy{Kind: Maglev}
	first := NewSet(nil, local(90, 91, 92), p)
	if first.shares[0].table.index.Load() != nil {
		t.Error("the table was built before anybody picked from it")
	}
	second := NewSet(first, local(90, 91, 92), p)
	if second.shares[0].table != first.shares[0].table {
		t.Error("the same endpoints got another table")
	}
	if _, err := second.Pick(&Hint{}); err != nil {
		t.Fatal(err)
	}
	third := NewSet(second, local(90, 91), p)
	if third.shares[0].table.index.Load() == nil {
		t.Error("a table in use was replaced by one that the next pick has to build")
	}
	weighted := local(90, 91)
	weighted[0].Weight = 5
	if NewSet(third, weighted, p).shares[0].table == third.shares[0].table {
		t.Error("another weight did not make another table")
	}
}

func TestLocalitiesAreOrderedAsInEnvoy(t *testing.T) {
	t.Parallel()
	specs := local(90, 91, 92, 93, 94)
	for i, l := range []string{"b/1/", "a-x/1/", "", "a/2/", "a/1/x"} {
		specs[i].Locality = l
	}
	for own, want := range map[string]string{"": "92 94 93 91 90", "b/1/": "90 92 94 93 91", "c//": "92 94 93 91 90"} {
		b := builder{set: NewSet(nil, specs, Policy{Locality: own})}
		var got []string
		for _, l := range b.localities(b.set.Endpoints()) {
			got = append(got, strconv.Itoa(int(l[0].Addr().Port())))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("from %q: got %v, want %s", own, got, want)
		}
	}
}
