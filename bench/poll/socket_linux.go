package poll

import (
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/outrigger-mesh/outrigger/sock"
)

// Socket is a descriptor that Go's own poller does not watch.
type Socket struct {
	file *os.File
	fd   int
}

// Take takes a *net.TCPConn away from Go's poller; the connection itself is closed.
func Take(conn net.Conn) (*Socket, error) {
	tcp, ok := conn.(interface {
		File() (*os.File, error)
		Close() error
	})
	if !ok {
		return nil, fmt.Errorf("poll a %T", conn)
	}
	file, err := tcp.File()
	_ = tcp.Close() // file is another descriptor of the same socket
	if err != nil {
		return nil, err
	}
	s := &Socket{file: file, fd: int(file.Fd())}
	if err := unix.SetNonblock(s.fd, true); err != nil {
		return nil, os.NewSyscallError("set nonblock", err)
	}
	return s, nil
}

// FD is the descriptor, for Poller.Add.
func (s *Socket) FD() int { return s.fd }

// Read takes what is there; syscall.EAGAIN says nothing is, io.EOF is the end.
func (s *Socket) Read(p []byte) (int, error) { return sock.Read(s.fd, p) }

// Write gives the socket what it takes; syscall.EAGAIN says that it takes nothing.
func (s *Socket) Write(p []byte) (int, error) { return sock.Write(s.fd, p) }

// Shut ends the connection both ways, so that whoever polls it sees its end.
func (s *Socket) Shut() { _ = syscall.Shutdown(s.fd, syscall.SHUT_RDWR) }

// Close gives the descriptor up; nobody may be polling it.
func (s *Socket) Close() error { return s.file.Close() }
