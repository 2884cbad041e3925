package main

import (
	"golang.org/x/net/http2"

	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/spec"
)

// added returns the cases that the project has got, or got right, since the
// version we build.
func added() *spec.TestGroup {
	root := &spec.TestGroup{Key: "added", Name: "Cases of later versions"}
	ping := &spec.TestGroup{Key: "added", Section: "6.7", Name: "PING"}
	ping.AddTestCase(&spec.TestCase{
		Desc:        "Sends a PING frame of 6 octets on stream 0",
		Requirement: "The endpoint MUST treat this as a connection error of type FRAME_SIZE_ERROR.",
		Run: func(_ *config.Config, conn *spec.Conn) error {
			if err := conn.Handshake(); err != nil {
				return err
			}
			if err := conn.WriteRawFrame(http2.FramePing, 0, 0, make([]byte, 6)); err != nil {
				return err
			}
			return spec.VerifyConnectionError(conn, http2.ErrCodeFrameSize)
		},
	})
	compression := &spec.TestGroup{Key: "added", Section: "4.3", Name: "Header compression"}
	for _, bad := range []struct{ desc, block string }{
		{"Sends a literal field with the name of index 70, which is not there", "\x7f\x07\x00"},
		{"Sends a Huffman-coded value with EOS inside", "\x00\x85\xf2\xb2\x4a\x84\xff\x87\x49\x51\xff\xff\xff\xfa\x7f"},
	} {
		compression.AddTestCase(&spec.TestCase{
			Desc:        bad.desc,
			Requirement: "The endpoint MUST treat this as a decoding error.",
			Run: func(c *config.Config, conn *spec.Conn) error {
				if err := conn.Handshake(); err != nil {
					return err
				}
				err := conn.WriteHeaders(http2.HeadersFrameParam{
					StreamID: 1, EndStream: true, EndHeaders: true,
					BlockFragment: append(conn.EncodeHeaders(spec.CommonHeaders(c)), bad.block...),
				})
				if err != nil {
					return err
				}
				return spec.VerifyConnectionError(conn, http2.ErrCodeCompression)
			},
		})
	}
	root.AddTestGroup(ping)
	root.AddTestGroup(compression)
	return root
}
