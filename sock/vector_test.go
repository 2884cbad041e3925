package sock_test

import (
	"bytes"
	"errors"
	"io"
	"syscall"
	"testing"

	"github.com/outrigger-mesh/outrigger/sock"
)

func TestVectorWritesItsPartsInOrder(t *testing.T) {
	near, far := pair(t)
	raw, err := near.(*sock.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var want []byte
	var left [][]byte
	for i := range 100 {
		p := bytes.Repeat([]byte{byte(i)}, i*13%500)
		want = append(want, p...)
		left = append(left, p)
	}
	for len(left) > 0 {
		write(t, raw, &left)
	}
	_ = near.(*sock.Conn).CloseWrite()
	got, err := io.ReadAll(far)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %d bytes, want %d, %v", len(got), len(want), err)
	}
}

// write writes as many parts as a vector takes, and drops from left what was taken.
func write(t *testing.T, raw syscall.RawConn, left *[][]byte) {
	t.Helper()
	var n int
	var failed error
	err := raw.Write(func(fd uintptr) bool {
		var v sock.Vector
		for _, p := range *left {
			if !v.Add(p) {
				break
			}
		}
		if v.Len() == 0 {
			return true
		}
		n, failed = v.Write(int(fd))
		return !errors.Is(failed, syscall.EAGAIN)
	})
	if err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	for len(*left) > 0 && n >= len((*left)[0]) {
		n -= len((*left)[0])
		*left = (*left)[1:]
	}
	if n > 0 {
		(*left)[0] = (*left)[0][n:]
	}
}
