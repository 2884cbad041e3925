//go:build race

package buffer_test

import (
	"bytes"
	"testing"

	"github.com/outrigger-mesh/outrigger/proxy/buffer"
)

func TestBufferIsSpoiltWhenPutBack(t *testing.T) {
	b := buffer.Get(buffer.Tiny)
	copy(b, "what somebody sent")
	buffer.Put(b[:0])
	if bytes.Contains(b, []byte("somebody")) {
		t.Error("who kept the buffer reads what was in it")
	}
}
