package acceptance_test

import (
	"bufio"
	"bytes"
	"crypto/sha1" //nolint:gosec // RFC 6455 has it
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// The opcodes of RFC 6455 that are used here.
const (
	opContinuation = 0x0
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xa
)

// peerWS is one side of a websocket; a client masks what it sends.
type peerWS struct {
	conn   net.Conn
	in     *bufio.Reader
	client bool
	random *rand.Rand

	writing sync.Mutex
}

// frame writes one frame.
func (p *peerWS) frame(op byte, last bool, body []byte) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	head := []byte{op}
	if last {
		head[0] |= 0x80
	}
	switch n := len(body); {
	case n < 126:
		head = append(head, byte(n))
	case n < 1<<16:
		head = binary.BigEndian.AppendUint16(append(head, 126), uint16(n))
	default:
		head = binary.BigEndian.AppendUint64(append(head, 127), uint64(n))
	}
	body = bytes.Clone(body)
	if p.client {
		head[1] |= 0x80
		mask := binary.BigEndian.AppendUint32(nil, p.random.Uint32())
		head = append(head, mask...)
		for i := range body {
			body[i] ^= mask[i%4]
		}
	}
	_, err := p.conn.Write(append(head, body...))
	return err
}

// next reads one frame.
func (p *peerWS) next() (op byte, last bool, body []byte, err error) {
	var head [14]byte
	if _, err = io.ReadFull(p.in, head[:2]); err != nil {
		return 0, false, nil, err
	}
	size, masked := uint64(head[1]&0x7f), head[1]&0x80 != 0
	if masked == p.client {
		return 0, false, nil, errors.New("masked by the wrong side")
	}
	switch size {
	case 126:
		_, err = io.ReadFull(p.in, head[2:4])
		size = uint64(binary.BigEndian.Uint16(head[2:]))
	case 127:
		_, err = io.ReadFull(p.in, head[2:10])
		size = binary.BigEndian.Uint64(head[2:])
	}
	if err != nil {
		return 0, false, nil, err
	}
	var mask [4]byte
	if masked {
		if _, err = io.ReadFull(p.in, mask[:]); err != nil {
			return 0, false, nil, err
		}
	}
	if size > 64<<20 {
		return 0, false, nil, fmt.Errorf("a frame of %d bytes", size)
	}
	body = make([]byte, size)
	_, err = io.ReadFull(p.in, body)
	for i := range body {
		body[i] ^= mask[i%4]
	}
	return head[0] & 0x0f, head[0]&0x80 != 0, body, err
}

// message reads a whole message; pings are answered, pongs told.
func (p *peerWS) message() (op byte, body []byte, err error) {
	for {
		got, last, part, err := p.next()
		switch {
		case err != nil:
			return 0, nil, err
		case got == opPing:
			if err := p.frame(opPong, true, part); err != nil {
				return 0, nil, err
			}
			continue
		case got == opClose, got == opPong:
			return got, part, nil
		case got != opContinuation:
			op = got
		}
		if body = append(body, part...); last {
			return op, body, nil
		}
	}
}

func accepts(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // RFC 6455 has it
	return base64.StdEncoding.EncodeToString(sum[:])
}

// echoWS sends messages back whole, pings before each, and ends with the close handshake.
func echoWS(c net.Conn, r *bufio.Reader) {
	req, err := http.ReadRequest(r)
	if err != nil {
		return
	}
	if req.Header.Get("Upgrade") != "websocket" || !strings.EqualFold(req.Header.Get("Connection"), "upgrade") {
		_, _ = fmt.Fprintf(c, "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
		return
	}
	_, _ = fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: chat\r\n\r\n",
		accepts(req.Header.Get("Sec-Websocket-Key")))
	p := &peerWS{conn: c, in: r}
	for {
		op, body, err := p.message()
		switch {
		case err != nil:
			return
		case op == opClose:
			_ = p.frame(opClose, true, body)
			return
		case op == opPong:
			continue
		}
		if p.frame(opPing, true, []byte("are you there")) != nil || p.frame(op, true, body) != nil {
			return
		}
	}
}

// openWS asks for a websocket, and sends the first frame without waiting if told so.
func openWS(t *testing.T, c net.Conn) *peerWS {
	t.Helper()
	const key = "dGhlIHNhbXBsZSBub25jZQ=="
	send(t, c, "GET /chat?room=1 HTTP/1.1\r\nHost: quiet\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nOrigin: http://quiet\r\n"+
		"Sec-WebSocket-Key: "+key+"\r\nSec-WebSocket-Protocol: chat\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
	in := bufio.NewReader(c)
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Sec-Websocket-Accept") != accepts(key) ||
		resp.Header.Get("Sec-Websocket-Protocol") != "chat" || !strings.EqualFold(resp.Header.Get("Upgrade"), "websocket") {
		t.Fatalf("got %d %v", resp.StatusCode, resp.Header)
	}
	return &peerWS{conn: c, in: in, client: true, random: rand.New(rand.NewPCG(1, 2))} //nolint:gosec // masks need not be secret here
}

func TestMeshWebsocketsCarryLargeMessages(t *testing.T) {
	mesh := town(t)
	pods := mesh.Pods("client", "solo")
	client, solo := pods[0], pods[1]
	apply(t, mesh, "declared", strings.ReplaceAll(undeclared("10.9.9.9"), "number: 8090, name: c", "number: 8090, name: http-c"))
	serves(t, solo, 8090, echoWS)
	serves(t, solo, 3310, echoWS)
	for _, mode := range []string{"PERMISSIVE", "STRICT"} {
		apply(t, mesh, "mode", peerAuthentication(mode, ""))
		for kind, addr := range map[string]string{"declared": "10.96.9.1:8090", "sniffed": "10.96.9.1:3310"} {
			t.Run(mode+", "+kind+" port", func(t *testing.T) {
				eventually(t, "the service answers", func() bool {
					got, _ := talk(t, client, addr, "GET / HTTP/1.1\r\nhost: quiet\r\nconnection: close\r\n\r\n", soon)
					return strings.HasPrefix(got, "HTTP/1.1 400")
				})
				chatWS(t, openWS(t, dial(t, client, addr)))
			})
		}
	}
}

// chatWS exchanges messages of all sizes, whole and in pieces, and says farewell.
func chatWS(t *testing.T, p *peerWS) {
	t.Helper()
	for n, size := range []int{0, 1, 125, 126, 65535, 65536, 1 << 20, 1 << 20} {
		want := make([]byte, size)
		for i := range want {
			want[i] = byte(i * (n + 3) >> 3)
		}
		piece := len(want)
		if n%2 == 1 {
			piece = max(1, len(want)/7)
		}
		sent := make(chan error, 1)
		go func() { sent <- p.pieces(want, piece) }()
		op, got, err := p.message()
		if err != nil || op != opBinary || !bytes.Equal(got, want) {
			t.Fatalf("message of %d bytes: got opcode %d, %d bytes, %v", size, op, len(got), err)
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
	}
	if err := p.frame(opPing, true, []byte("still?")); err != nil {
		t.Fatal(err)
	}
	if op, got, err := p.message(); err != nil || op != opPong || string(got) != "still?" {
		t.Errorf("got opcode %d %q, %v for the ping", op, got, err)
	}
	farewell := append([]byte{0x03, 0xe8}, "done"...) // 1000
	if err := p.frame(opClose, true, farewell); err != nil {
		t.Fatal(err)
	}
	if op, got, err := p.message(); err != nil || op != opClose || !bytes.Equal(got, farewell) {
		t.Errorf("got opcode %d %q, %v for the close", op, got, err)
	}
	if _, err := p.in.ReadByte(); err != io.EOF {
		t.Errorf("after the close handshake: %v, want the end", err)
	}
}

// pieces sends a message in frames of a size.
func (p *peerWS) pieces(body []byte, size int) error {
	op := byte(opBinary)
	for len(body) > size {
		if err := p.frame(op, false, body[:size]); err != nil {
			return err
		}
		op, body = opContinuation, body[size:]
	}
	return p.frame(op, true, body)
}
