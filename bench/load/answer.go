package load

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

var (
	errReconnect = errors.New("connection closed in order")
	errBroken    = errors.New("broken answer")
)

// codec speaks one protocol on one connection. It only moves bytes; the lane owns the
// socket. It is guarded by the lane's lock.
type codec interface {
	// request appends a request that was due at a time, or says that it must wait.
	request(out []byte, due time.Duration) ([]byte, bool)
	// consume reads what has come and appends what must be sent at once. It says how
	// many bytes it is done with. After an error the connection is useless.
	consume(in, out []byte) (used int, answer []byte, err error)
}

// verdict is told of each request's end: err is nil for a good answer.
type verdict func(due time.Duration, err error)

// expectation is what a good answer looks like, shared by all lanes.
type expectation struct {
	status int
	length atomic.Int64 // of the body; negative until the first answer, if that decides
}

func newExpectation(t *Target) *expectation {
	e := &expectation{status: t.Status}
	if e.status == 0 {
		e.status = 200
	}
	e.length.Store(t.Answer)
	if t.Answer == 0 {
		e.length.Store(-1)
	}
	return e
}

func (e *expectation) check(status int, length int64) error {
	if status != e.status {
		return fmt.Errorf("status %d instead of %d", status, e.status)
	}
	want := e.length.Load()
	if want == length || want < 0 && (e.length.CompareAndSwap(-1, length) || e.length.Load() == length) {
		return nil
	}
	return fmt.Errorf("body of %d bytes instead of %d", length, e.length.Load())
}
