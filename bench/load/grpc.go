package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// prefixSize is that of what comes before a gRPC message: a flag and a length.
const prefixSize = 5

// grpcMessage puts the prefix before a message.
func grpcMessage(m []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(m))), m...)
}

// grpcAnswer is what has been seen of a unary call's answer.
type grpcAnswer struct {
	head    [prefixSize]byte
	typed   bool // content-type is gRPC's
	ended   bool // there was a grpc-status
	status  string
	message string
}

// prefix notes bytes of the prefix; at is where in the body they are.
func (a *grpcAnswer) prefix(content []byte, at int64) {
	if at < prefixSize {
		copy(a.head[at:], content)
	}
}

func (a *grpcAnswer) field(name, value string) {
	switch name {
	case "grpc-status":
		a.status, a.ended = value, true
	case "grpc-message":
		a.message = value
	case "content-type":
		a.typed = strings.HasPrefix(value, "application/grpc")
	}
}

// check takes an answer of one whole message and status 0.
func (a *grpcAnswer) check(length int64) error {
	switch {
	case !a.ended:
		return errors.New("answer without grpc-status")
	case a.status != "0":
		return fmt.Errorf("grpc-status %s: %s", a.status, a.message)
	case !a.typed:
		return errors.New("answer that is not gRPC")
	case length < prefixSize || a.head[0] != 0 || int64(binary.BigEndian.Uint32(a.head[1:])) != length-prefixSize:
		return fmt.Errorf("message of %d bytes begins with %x", length, a.head)
	}
	return nil
}
