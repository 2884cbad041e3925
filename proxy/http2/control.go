package http2

import (
	xhttp2 "golang.org/x/net/http2"
)

// pongs are the pings that we sent.
type pongs struct {
	keepAlive bool  // one of ours is on the way
	due       int64 // when the next is to be sent, or the answer has to be here
	drain     bool  // that of a drain is on the way
}

// The contents of our pings.
var (
	pingKeepAlive = [8]byte{'k', 'e', 'e', 'p'}
	pingDrain     = [8]byte{'d', 'r', 'a', 'i', 'n'}
)

func (c *conn) onSettings(f *xhttp2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	if f.NumSettings() > maxSettings {
		return connError(codeEnhanceYourCalm, detailProtocol)
	}
	c.seen.settings++
	c.mu.Lock()
	if c.seen.settings > maxSettingsFrames+c.window.opened {
		c.mu.Unlock()
		return connError(codeEnhanceYourCalm, detailSettings)
	}
	was := c.peer.maxStreams
	err := f.ForeachSetting(c.setLocked)
	if err == nil && c.peer.announced != c.peer.window {
		err = c.resizeWindows(c.peer.announced)
	}
	if err == nil {
		if !c.peer.known && !c.server && c.peer.maxStreams == assumedStreams {
			c.peer.maxStreams = maxWindow
		}
		c.peer.known = true
		c.control(func(b []byte) []byte { return appendFrame(b, 0, frameSettings, flagAck, 0) })
		c.wakeSenders()
	}
	more := c.peer.maxStreams > was && c.onMore != nil
	c.mu.Unlock()
	if more {
		c.onMore(was)
	}
	return err
}

// maxSettings is how many settings one frame may carry: there are no more than a few.
const maxSettings = 64

// maxSettingsFrames is how many SETTINGS frames may come besides one for each stream.
// A peer that adapts its window sends a few dozen; each may move all streams.
const maxSettingsFrames = 1000

// setLocked obeys one setting.
func (c *conn) setLocked(v xhttp2.Setting) error {
	switch uint16(v.ID) {
	case settingHeaderTableSize:
		c.enc.resize(v.Val)
	case settingEnablePush:
		if v.Val > 1 || !c.server && v.Val != 0 {
			return connError(codeProtocol, detailProtocol)
		}
	case settingMaxConcurrentStreams:
		c.peer.maxStreams = min(v.Val, maxWindow)
		c.peer.known = true
	case settingInitialWindowSize:
		if v.Val > maxWindow {
			return connError(codeFlowControl, detailProtocol)
		}
		c.peer.announced = int64(v.Val) // moves all streams, so once for a frame
	case settingMaxFrameSize:
		if v.Val < minFrameSize || v.Val >= 1<<24 {
			return connError(codeProtocol, detailProtocol)
		}
		c.peer.frameSize = int(v.Val)
	case settingEnableConnect:
		if v.Val > 1 || c.peer.connect && v.Val == 0 {
			return connError(codeProtocol, detailProtocol)
		}
		c.peer.connect = v.Val == 1
	}
	return nil
}

// resizeWindows moves the windows of all streams by the difference (RFC 9113 section
// 6.9.2); they may become negative.
func (c *conn) resizeWindows(size int64) error {
	d := size - c.peer.window
	c.peer.window = size
	for _, s := range c.streams {
		if s.window += d; s.window > maxWindow {
			return connError(codeFlowControl, detailProtocol)
		}
		if d > 0 {
			s.send.ring()
		}
	}
	return nil
}

func (c *conn) onPing(f *xhttp2.PingFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !f.IsAck() {
		data := f.Data
		c.control(func(b []byte) []byte { return appendPing(b, flagAck, data) })
		return nil
	}
	switch {
	case f.Data == pingKeepAlive && c.pongs.keepAlive:
		c.pongs.keepAlive = false
		c.pongs.due = c.seenNow() + c.set.KeepAlive.next()
		c.clock.arm(c.pongs.due)
	case f.Data == pingDrain && c.pongs.drain:
		c.pongs.drain = false
		c.clock.arm(c.seenNow())
	}
	return nil
}

// keepAlive sends pings, and misses answers. It is called by the clock, and returns
// when it wants to be called again.
func (c *conn) keepAlive(now int64) int64 {
	p := &c.pongs
	switch {
	case c.set.KeepAlive.Interval <= 0:
		return 0
	case p.due == 0:
		p.due = now + c.set.KeepAlive.next()
	case now < p.due:
	case p.keepAlive:
		c.stopLocked(errPingTimeout)
		return 0
	default:
		p.keepAlive = true
		p.due = now + int64(c.set.KeepAlive.Timeout)
		c.append(1, func(b []byte) []byte { return appendPing(b, 0, pingKeepAlive) })
	}
	return p.due
}

func (c *conn) onPriority(f *xhttp2.PriorityFrame) error {
	if f.StreamDep == f.StreamID {
		return c.streamError(f.StreamID, codeProtocol, detailProtocol)
	}
	c.seen.priorities++
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen.priorities > int64(c.set.Floods.PriorityPerStream)*(1+c.window.opened) {
		return connError(codeEnhanceYourCalm, detailPriority)
	}
	return nil
}

// earliest is the sooner of two times of which 0 is none.
func earliest(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}
