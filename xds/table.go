package xds

import (
	"github.com/outrigger-mesh/outrigger/xds/slab"
)

// record is what the index holds per resource: no pointer, so that the collector does not look at it.
type record struct {
	key   uint64   // hash of the name
	bytes uint64   // hash of the bytes as received
	free  uint64   // order-free hash, 0 while nobody needed it
	at    slab.Ref // name, then the packed bytes
	raw   uint32   // length of the bytes before packing
	size  uint32   // length as received; more than raw where virtual hosts are kept apart
	refs  uint32   // how many resources refer to it
	epoch uint32   // the stream on which it was last named
	route int32    // index of the virtual hosts of a RouteConfiguration, or -1
	name  uint16   // length of the name
	state state
}

// state is a set of marks on a record.
type state uint8

const (
	used       state = 1 << iota // the record is not free
	present                      // its resource has arrived
	subscribed                   // the stream was asked for it
)

// A slot of the hash table is empty, a tombstone, or an index into the records plus firstSlot.
const (
	emptySlot = iota
	tombstone
	firstSlot
)

// table is the index of one type: open addressing over records.
type table struct {
	slots   []uint32
	records []record
	vacant  []int32
	filled  int // slots that are not empty
	count   int // records with a resource
	raw     int // bytes of all resources before packing
}

// find returns the index of the record of a name, or -1; same compares the name with that of a record.
func (t *table) find(key uint64, same func(*record) bool) int {
	if len(t.slots) == 0 {
		return -1
	}
	mask := uint64(len(t.slots) - 1)
	for i := key & mask; ; i = (i + 1) & mask {
		switch s := t.slots[i]; s {
		case emptySlot:
			return -1
		case tombstone:
		default:
			if r := &t.records[s-firstSlot]; r.key == key && same(r) {
				return int(s - firstSlot)
			}
		}
	}
}

// insert adds a record that find does not know.
func (t *table) insert(r record) {
	if (t.filled+1)*4 > len(t.slots)*3 {
		t.rehash()
	}
	i := len(t.records)
	if n := len(t.vacant); n > 0 {
		i = int(t.vacant[n-1])
		t.vacant = t.vacant[:n-1]
		t.records[i] = r
	} else {
		t.records = append(t.records, r)
	}
	t.place(r.key, i)
}

func (t *table) place(key uint64, i int) {
	mask := uint64(len(t.slots) - 1)
	at := key & mask
	for t.slots[at] >= firstSlot {
		at = (at + 1) & mask
	}
	if t.slots[at] == emptySlot {
		t.filled++
	}
	t.slots[at] = uint32(i + firstSlot)
}

// remove forgets record i.
func (t *table) remove(i int) {
	mask := uint64(len(t.slots) - 1)
	for at := t.records[i].key & mask; ; at = (at + 1) & mask {
		if t.slots[at] == uint32(i+firstSlot) {
			t.slots[at] = tombstone
			break
		}
	}
	t.records[i] = record{}
	t.vacant = append(t.vacant, int32(i))
}

// rehash makes room and drops the tombstones.
func (t *table) rehash() {
	size := 16
	for size < (len(t.records)-len(t.vacant)+1)*2 {
		size *= 2
	}
	t.slots, t.filled = make([]uint32, size), 0
	for i := range t.records {
		if t.records[i].state&used != 0 {
			t.place(t.records[i].key, i)
		}
	}
}
