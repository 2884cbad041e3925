package lb

import (
	"encoding/binary"
	"math/bits"
)

// The primes of XXH64 (xxHash specification, section "XXH64 algorithm").
const (
	xxPrime1 = 0x9E3779B185EBCA87
	xxPrime2 = 0xC2B2AE3D27D4EB4F
	xxPrime3 = 0x165667B19E3779F9
	xxPrime4 = 0x85EBCA77C2B2AE63
	xxPrime5 = 0x27D4EB2F165667C5
)

// Hash is the XXH64 of a key, which Envoy spreads keys over endpoints by. Keys of
// several parts hash each part with the hash of those before as its seed; the first
// seed is 0.
func Hash[T string | []byte](key T, seed uint64) uint64 {
	n := uint64(len(key))
	var h uint64
	if len(key) >= 32 {
		key, h = xxStripes(key, seed)
	} else {
		h = seed + xxPrime5
	}
	h += n
	for ; len(key) >= 8; key = key[8:] {
		h ^= xxRound(0, le64(key))
		h = bits.RotateLeft64(h, 27)*xxPrime1 + xxPrime4
	}
	if len(key) >= 4 {
		h ^= uint64(le32(key)) * xxPrime1
		h = bits.RotateLeft64(h, 23)*xxPrime2 + xxPrime3
		key = key[4:]
	}
	for i := range len(key) {
		h ^= uint64(key[i]) * xxPrime5
		h = bits.RotateLeft64(h, 11) * xxPrime1
	}
	h ^= h >> 33
	h *= xxPrime2
	h ^= h >> 29
	h *= xxPrime3
	return h ^ h>>32
}

// xxStripes takes in all whole stripes of 32 bytes.
func xxStripes[T string | []byte](key T, seed uint64) (T, uint64) {
	var acc [4]uint64
	acc[0] = seed
	acc[0] += xxPrime1
	acc[0] += xxPrime2
	acc[1] = seed + xxPrime2
	acc[2] = seed
	acc[3] = seed - xxPrime1
	for ; len(key) >= 32; key = key[32:] {
		for i := range acc {
			acc[i] = xxRound(acc[i], le64(key[8*i:]))
		}
	}
	h := bits.RotateLeft64(acc[0], 1) + bits.RotateLeft64(acc[1], 7) + bits.RotateLeft64(acc[2], 12) + bits.RotateLeft64(acc[3], 18)
	for _, a := range acc {
		h = (h^xxRound(0, a))*xxPrime1 + xxPrime4
	}
	return key, h
}

func xxRound(acc, lane uint64) uint64 {
	return bits.RotateLeft64(acc+lane*xxPrime2, 31) * xxPrime1
}

func le64[T string | []byte](b T) uint64 { return uint64(le32(b)) | uint64(le32(b[4:]))<<32 }

func le32[T string | []byte](b T) uint32 {
	_ = b[3]
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

// murmur2 is MurmurHash64A as libstdc++ has it, the ring's other hash function.
func murmur2(key []byte, seed uint64) uint64 {
	const mul = 0xc6a4a7935bd1e995
	h := seed ^ uint64(len(key))*mul
	mixed := func(v uint64) uint64 { return v ^ v>>47 }
	for ; len(key) >= 8; key = key[8:] {
		h = (h ^ mixed(binary.LittleEndian.Uint64(key)*mul)*mul) * mul
	}
	if len(key) > 0 {
		var last [8]byte
		copy(last[:], key)
		h = (h ^ binary.LittleEndian.Uint64(last[:])) * mul
	}
	return mixed(mixed(h) * mul)
}

// murmurSeed is the seed that libstdc++ hashes with.
const murmurSeed = 0xc70f6907
