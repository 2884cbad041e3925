package http2

// frameHeadLen is the length of what stands before each frame's payload.
const frameHeadLen = 9

// minFrameSize is the SETTINGS_MAX_FRAME_SIZE that every peer accepts, and all that
// we do.
const minFrameSize = 16 << 10

// maxWindow is the largest that a flow-control window may get.
const maxWindow = 1<<31 - 1

// preface is what a connection begins with.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// The frame types of RFC 9113 section 6.
const (
	frameData         = 0x0
	frameHeaders      = 0x1
	frameRSTStream    = 0x3
	frameSettings     = 0x4
	framePing         = 0x6
	frameGoAway       = 0x7
	frameWindowUpdate = 0x8
	frameContinuation = 0x9
)

// The flags of frames.
const (
	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

// The settings of RFC 9113 section 6.5.2 and RFC 8441.
const (
	settingHeaderTableSize      = 0x1
	settingEnablePush           = 0x2
	settingMaxConcurrentStreams = 0x3
	settingInitialWindowSize    = 0x4
	settingMaxFrameSize         = 0x5
	settingMaxHeaderListSize    = 0x6
	settingEnableConnect        = 0x8
)

// The error codes of RFC 9113 section 7.
const (
	codeNo              uint32 = 0x0
	codeProtocol        uint32 = 0x1
	codeInternal        uint32 = 0x2
	codeFlowControl     uint32 = 0x3
	codeStreamClosed    uint32 = 0x5
	codeFrameSize       uint32 = 0x6
	codeRefusedStream   uint32 = 0x7
	codeCancel          uint32 = 0x8
	codeCompression     uint32 = 0x9
	codeConnect         uint32 = 0xa
	codeEnhanceYourCalm uint32 = 0xb
)

// appendFrame appends the head of a frame.
func appendFrame(b []byte, length int, kind, flags byte, id uint32) []byte {
	return append(b,
		byte(length>>16), byte(length>>8), byte(length), kind, flags,
		byte(id>>24), byte(id>>16), byte(id>>8), byte(id))
}

// putFrame writes the head of a frame into its first bytes.
func putFrame(b []byte, length int, kind, flags byte, id uint32) {
	appendFrame(b[:0], length, kind, flags, id)
}

func appendUint32(b []byte, v uint32) []byte {
	return append(b, byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}

func appendSetting(b []byte, id uint16, v uint32) []byte {
	return appendUint32(append(b, byte(id>>8), byte(id)), v)
}

func appendWindowUpdate(b []byte, id, n uint32) []byte {
	return appendUint32(appendFrame(b, 4, frameWindowUpdate, 0, id), n)
}

func appendReset(b []byte, id, code uint32) []byte {
	return appendUint32(appendFrame(b, 4, frameRSTStream, 0, id), code)
}

func appendPing(b []byte, flags byte, data [8]byte) []byte {
	return append(appendFrame(b, 8, framePing, flags, 0), data[:]...)
}

func appendGoAway(b []byte, last, code uint32) []byte {
	return appendUint32(appendUint32(appendFrame(b, 8, frameGoAway, 0, 0), last), code)
}
