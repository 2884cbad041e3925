package http2

import "github.com/outrigger-mesh/outrigger/proxy/buffer"

const mediumBuffer = buffer.Medium

func getBuffer(size int) []byte { return buffer.Get(size) }

func putBuffer(b []byte) { buffer.Put(b) }
