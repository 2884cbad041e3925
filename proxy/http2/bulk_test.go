package http2_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/proxy/http2"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// noise is n bytes that no other seed gives.
func noise(seed uint64, n int) []byte {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(b) // never fails
	return b
}

// TestBulkIsPassedOnWhole sends bodies that differ over shared connections, both ways
// and in parallel, so that content which is lent and not copied would be found mixed up.
func TestBulkIsPassedOnWhole(t *testing.T) {
	const size = 1<<20 + 4321
	tests := map[string]http2.Settings{
		"wide windows":   {},
		"narrow windows": {InitialStreamWindow: 100_000, InitialConnWindow: 300_000},
	}
	for name, set := range tests {
		t.Run(name, func(t *testing.T) {
			up := connect(t, http2.ServerOptions{Settings: set}, http2.ClientOptions{Settings: set}, echo)
			down := connect(t, http2.ServerOptions{Settings: set}, http2.ClientOptions{Settings: set}, forward(up))
			var all sync.WaitGroup
			for i := range 12 {
				all.Go(func() {
					for k := range 3 {
						want := noise(uint64(i*100+k), size-i*777)
						a, err := do(t, down, post("/", string(want)))
						if err != nil || a.body != string(want) {
							t.Errorf("got %d bytes that differ from %d, %v", len(a.body), len(want), err)
						}
					}
				})
			}
			all.Wait()
		})
	}
}

// TestBulkBesideResets gives up bodies at any point beside others that are read to
// their ends, now and then slowly.
func TestBulkBesideResets(t *testing.T) {
	want := noise(1, 3<<20)
	sum := sha256.Sum256(want)
	up := connect(t, http2.ServerOptions{}, http2.ClientOptions{}, handlerFunc(func(w httpmsg.ResponseWriter, _ *httpmsg.Request) {
		_, _ = w.WriteResponse(&httpmsg.Response{Status: 200, Body: &content{Pieces: []string{string(want)}}, ContentLength: int64(len(want))})
	}))
	down := connect(t, http2.ServerOptions{}, http2.ClientOptions{}, forward(up))
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for k := range 4 {
				part := int64(len(want))
				if i%2 == 1 {
					part = int64((k*8 + i) * 90_001)
				}
				got, err := readPart(t, down, part)
				if err != nil {
					t.Errorf("reading %d bytes: %v", part, err)
				}
				if !bytes.Equal(got, want[:part]) {
					t.Errorf("got %d bytes that differ", len(got))
				}
				if i%2 == 0 && sha256.Sum256(got) != sum {
					t.Error("got another body")
				}
			}
		})
	}
	all.Wait()
}

// readPart reads so much of an answer, and gives up the rest.
func readPart(t *testing.T, c *http2.ClientConn, part int64) ([]byte, error) {
	t.Helper()
	s, err := c.Open()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	res, err := s.RoundTrip(get("/"), time.Now().Add(time.Minute))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(res.Body, part))
}

// TestPiecesAreWhatReadGives reads a body by pieces and by Read in turns.
func TestPiecesAreWhatReadGives(t *testing.T) {
	want := noise(2, 1<<20)
	c := connect(t, http2.ServerOptions{}, http2.ClientOptions{}, echo)
	s, err := c.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	res, err := s.RoundTrip(post("/", string(want)), time.Now().Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	pieces := httpmsg.Pieces(res.Body)
	if pieces == nil {
		t.Fatal("the body has no pieces")
	}
	var got []byte
	b := make([]byte, 5000)
	for i := 0; err == nil; i++ {
		if i%2 == 0 {
			var n int
			n, err = res.Body.Read(b)
			got = append(got, b[:n]...)
			continue
		}
		var k httpmsg.Piece
		if k, err = pieces.ReadPiece(); k != nil {
			got = append(got, k.Bytes()...)
			k.Free()
		}
	}
	if err != io.EOF || !bytes.Equal(got, want) { //nolint:errorlint // Read returns it as it is
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}
