package buffer_test

import (
	"testing"

	"github.com/outrigger-mesh/outrigger/proxy/buffer"
)

func TestGetRoundsUpToASize(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ size, want int }{
		{0, buffer.Tiny},
		{buffer.Tiny, buffer.Tiny},
		{buffer.Tiny + 1, buffer.Small},
		{buffer.Small, buffer.Small},
		{buffer.Small + 1, buffer.Medium},
		{buffer.Medium, buffer.Medium},
		{buffer.Medium + 1, buffer.Large},
		{buffer.Large, buffer.Large},
		{buffer.Large + 1, buffer.Bulk},
		{buffer.Bulk, buffer.Bulk},
		{buffer.Bulk + 1, buffer.Bulk + 1},
	} {
		b := buffer.Get(tc.size)
		if len(b) != tc.want {
			t.Errorf("Get(%d) has %d bytes, want %d", tc.size, len(b), tc.want)
		}
		buffer.Put(b[:0])
	}
	buffer.Put(nil)
}
