package http2

// pipe is a stream as a plain stream of bytes, for tunnels.
type pipe struct {
	s *stream
	// code tells the peer of a tunnel that is given up.
	code uint32
}

// Read waits for content.
func (p *pipe) Read(b []byte) (int, error) { return p.s.receive(b, 0) }

// Write sends content.
func (p *pipe) Write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if err := p.s.transmit(b, false); err != nil {
		return 0, err
	}
	p.s.c.flush()
	return len(b), nil
}

// CloseWrite ends our direction.
func (p *pipe) CloseWrite() error {
	err := p.s.transmit(nil, true)
	p.s.c.flush()
	return err
}

// Endures reports that the end of a stream is not that of its connection.
func (p *pipe) Endures() bool { return true }

// Close ends both.
func (p *pipe) Close() error {
	c := p.s.c
	c.mu.Lock()
	if !p.s.complete() && !p.s.reset {
		c.resetLocked(p.s, p.code)
	}
	p.s.send.ring()
	p.s.closeInputLocked()
	c.mu.Unlock()
	c.flush()
	return nil
}
