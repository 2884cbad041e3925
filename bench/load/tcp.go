package load

import (
	"bytes"
	"fmt"
	"time"
)

// echoed sends a message and waits until it has come back.
type echoed struct {
	message []byte
	done    verdict

	due  time.Duration
	busy bool
	got  int
}

func (c *echoed) request(out []byte, due time.Duration) ([]byte, bool) {
	if c.busy {
		return out, false
	}
	c.busy, c.due, c.got = true, due, 0
	return append(out, c.message...), true
}

func (c *echoed) consume(in, out []byte) (used int, answer []byte, err error) {
	if !c.busy || len(in) > len(c.message)-c.got || !bytes.Equal(in, c.message[c.got:c.got+len(in)]) {
		return 0, out, fmt.Errorf("%w: other bytes than were sent", errBroken)
	}
	c.got += len(in)
	if c.got == len(c.message) {
		c.busy = false
		c.done(c.due, nil)
	}
	return len(in), out, nil
}
