package wire

import (
	"bytes"
	"slices"
	"sort"
	"strings"

	"github.com/outrigger-mesh/outrigger/xds/wire/shape"
)

// noMessage is the index of a message that the tables do not have.
const noMessage = -1

// rootOf finds the message of a type name, or noMessage.
func rootOf(name []byte) int {
	lo, hi := 0, len(shape.Roots)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if shape.Roots[mid].Name < string(name) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < len(shape.Roots) && shape.Roots[lo].Name == string(name) {
		return int(shape.Roots[lo].Msg)
	}
	return noMessage
}

// TypeName returns what follows the last slash of a type URL.
func TypeName(url []byte) []byte { return url[bytes.LastIndexByte(url, '/')+1:] }

// fieldAt returns the index of field num of m, or -1.
func fieldAt(m *shape.Message, num uint64) int {
	first := int(m.First)
	if num-1 < uint64(m.Count) { // most messages number their fields without gaps
		if i := first + int(num-1); uint64(shape.Fields[i].Num) == num {
			return i
		}
	}
	return searchField(first, first+int(m.Count), num)
}

func searchField(lo, hi int, num uint64) int {
	end := hi
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if uint64(shape.Fields[mid].Num) < num {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < end && uint64(shape.Fields[lo].Num) == num {
		return lo
	}
	return -1
}

func fieldName(i int) string {
	f := &shape.Fields[i]
	return shape.FieldNames[f.Name : int(f.Name)+int(f.Len)]
}

func messageName(i int) string {
	m := &shape.Messages[i]
	return shape.MessageNames[m.Name : int(m.Name)+int(m.Len)]
}

// contextName returns the full name of a field: that of its message, a dot, its own.
func contextName(field int) string {
	i := slices.IndexFunc(shape.Messages[:], func(m shape.Message) bool {
		return field >= int(m.First) && field < int(m.First)+int(m.Count)
	})
	if i < 0 {
		return ""
	}
	return messageName(i) + "." + fieldName(field)
}

// contextAt finds the field with this full name, or -1.
func contextAt(name string) int {
	dot := strings.LastIndexByte(name, '.')
	if dot < 0 {
		return -1
	}
	i := sort.Search(len(shape.Messages), func(i int) bool { return messageName(i) >= name[:dot] })
	if i == len(shape.Messages) || messageName(i) != name[:dot] {
		return -1
	}
	m := &shape.Messages[i]
	for f := int(m.First); f < int(m.First)+int(m.Count); f++ {
		if fieldName(f) == name[dot+1:] {
			return f
		}
	}
	return -1
}
