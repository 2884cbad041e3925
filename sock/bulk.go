package sock

import (
	"net"
	"sync"
)

// Below a TLS session bytes come and go by records of at most 16 KiB, each with a
// system call of its own or two. A connection that carries much reads ahead and
// gathers what one write of the session makes of its bytes.
const (
	// bulkRead is what is read at once.
	bulkRead = 256 << 10
	// bulkWrite has room for as much as records.
	bulkWrite = bulkRead + 8<<10
	// maxRecord is more than the largest record of TLS (RFC 8446, section 5.2).
	maxRecord = 16<<10 + 256 + 5
	// worthGathering is the least write that becomes more than one record.
	worthGathering = 16<<10 + 1
)

var bulks = sync.Pool{New: func() any { return new([bulkWrite]byte) }}

func getBulk() []byte { return bulks.Get().(*[bulkWrite]byte)[:] } //nolint:forcetypeassert // the pool holds nothing else

func putBulk(b []byte) { bulks.Put((*[bulkWrite]byte)(b[:bulkWrite])) }

// stock is what was read ahead. It holds a buffer only while it holds bytes.
type stock struct {
	buf  []byte
	r, w int
}

func (s *stock) take(p []byte) int {
	n := copy(p, s.buf[s.r:s.w])
	if s.r += n; s.r == s.w {
		putBulk(s.buf)
		*s = stock{}
	}
	return n
}

// ReadAhead lets every following Read take what there is, for those to come. It is
// for a connection that carries much; whoever looks at the socket itself does not see
// what was read ahead.
func (c *Conn) ReadAhead() { c.ahead.Store(true) }

// HasRecord reports whether a whole record of TLS was read ahead, so that the session
// can read it without waiting.
func (c *Conn) HasRecord() bool {
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	return c.stock.w-c.stock.r >= maxRecord
}

// readAhead fills a buffer and gives p its share.
func (c *Conn) readAhead(fd int, p []byte) (int, error) {
	b := getBulk()
	n, err := Read(fd, b[:bulkRead])
	c.stock = stock{buf: b, w: n}
	return c.stock.take(p), err
}

// WriteAll is conn.Write, with what a TLS session makes of p in one piece.
func WriteAll(conn net.Conn, p []byte) (int, error) {
	if len(p) < worthGathering {
		return conn.Write(p)
	}
	c := Under(conn)
	if c == nil || net.Conn(c) == conn {
		return conn.Write(p)
	}
	return c.WriteAll(conn, p)
}

// WriteAll is the function of that name for a session that is known to run on c.
func (c *Conn) WriteAll(session net.Conn, p []byte) (int, error) {
	if len(p) < worthGathering {
		return session.Write(p)
	}
	c.gather()
	n, err := session.Write(p)
	if flushErr := c.flush(); err == nil && flushErr != nil {
		return 0, flushErr
	}
	return n, err
}

// gather lets writes wait for flush.
func (c *Conn) gather() {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	if c.gathered == nil {
		c.gathered = getBulk()[:0]
	}
}

// put adds to what is gathered, or reports false where nothing is.
func (c *Conn) put(p []byte) (bool, error) {
	if c.gathered == nil {
		return false, nil
	}
	if len(c.gathered)+len(p) > cap(c.gathered) {
		if err := c.flushLocked(); err != nil || len(p) > cap(c.gathered) {
			return err != nil, err
		}
	}
	c.gathered = append(c.gathered, p...)
	return true, nil
}

func (c *Conn) flush() error {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	if c.gathered == nil {
		return nil
	}
	err := c.flushLocked()
	putBulk(c.gathered)
	c.gathered = nil
	return err
}

func (c *Conn) flushLocked() error {
	if len(c.gathered) == 0 {
		return nil
	}
	_, err := c.w.do(c.gathered, c.raw.Write)
	c.gathered = c.gathered[:0]
	return err
}
