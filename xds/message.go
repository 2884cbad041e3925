package xds

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/outrigger-mesh/outrigger/xds/wire"
)

// request is a DeltaDiscoveryRequest.
type request struct {
	node        []byte // an encoded Node, in the first request of a stream only
	typeURL     string
	subscribe   []string
	unsubscribe []string
	held        []string // resources that are held, of unknown version
	nonce       string
	nack        string // text of the error; empty acknowledges
}

// codeInternal is the code in a NACK; istiod looks only at its presence, Envoy sends the same.
const codeInternal = 13

// encode writes the request as protobuf: node 1, type_url 2, resource_names_subscribe 3, resource_names_unsubscribe 4,
// initial_resource_versions 5 {key 1, value 2}, response_nonce 6, error_detail 7 {code 1, message 2}.
func (r *request) encode() []byte {
	var b []byte
	if len(r.node) > 0 {
		b = appendBytes(b, 1, r.node)
	}
	b = appendBytes(b, 2, r.typeURL)
	for _, n := range r.subscribe {
		b = appendBytes(b, 3, n)
	}
	for _, n := range r.unsubscribe {
		b = appendBytes(b, 4, n)
	}
	var entry []byte
	for _, n := range r.held {
		entry = appendBytes(appendBytes(entry[:0], 1, n), 2, "")
		b = appendBytes(b, 5, entry)
	}
	if r.nonce != "" {
		b = appendBytes(b, 6, r.nonce)
	}
	if r.nack != "" {
		status := appendBytes([]byte{1 << 3, codeInternal}, 2, r.nack)
		b = appendBytes(b, 7, status)
	}
	return b
}

func appendBytes[T string | []byte](dst []byte, num int, v T) []byte {
	dst = appendVarint(dst, uint64(num)<<3|2)
	dst = appendVarint(dst, uint64(len(v)))
	return append(dst, v...)
}

// response is a DeltaDiscoveryResponse in place: everything points into the received bytes.
type response struct {
	body    []byte
	typeURL string
	version string
	nonce   string
	size    int // resources in it
}

var errMalformed = errors.New("malformed response")

// The fields of DeltaDiscoveryResponse.
const (
	responseVersion   = 1
	responseResources = 2
	responseType      = 4
	responseNonce     = 5
	responseRemoved   = 6
)

// parse checks the envelope and reads what is needed before the resources.
func parse(body []byte) (response, error) {
	r := response{body: body}
	c := wire.Cursor{Rest: body}
	for c.Next() {
		switch c.Num {
		case responseVersion:
			r.version = string(c.Val)
		case responseResources:
			r.size++
		case responseType:
			r.typeURL = string(c.Val)
		case responseNonce:
			r.nonce = string(c.Val)
		}
	}
	if c.Err != nil {
		return r, fmt.Errorf("%w: %w", errMalformed, c.Err)
	}
	if !utf8.ValidString(r.typeURL) || !utf8.ValidString(r.nonce) || r.typeURL == "" {
		return r, errMalformed
	}
	return r, nil
}

// resource is one element of a response.
type resource struct {
	name, version, typeURL, body []byte
	found                        bool // a body is there; without one it only renews a time to live
}

// each visits the resources in order.
func (r *response) each(use func(resource)) {
	for c := (wire.Cursor{Rest: r.body}); c.Next(); {
		if c.Num == responseResources {
			use(parseResource(c.Val))
		}
	}
}

// parseResource reads a Resource: version 1, resource 2 {type_url 1, value 2}, name 3.
func parseResource(b []byte) resource {
	var r resource
	c := wire.Cursor{Rest: b}
	for c.Next() {
		switch c.Num {
		case 1:
			r.version = c.Val
		case 2:
			r.found = true
			a := wire.Cursor{Rest: c.Val}
			for a.Next() {
				switch a.Num {
				case 1:
					r.typeURL = a.Val
				case 2:
					r.body = a.Val
				}
			}
			if a.Err != nil {
				c.Err = a.Err
			}
		case 3:
			r.name = c.Val
		}
	}
	if c.Err != nil {
		r.typeURL = nil // no type is the wrong type
	}
	if len(r.name) == 0 {
		r.name = wire.Name(r.body)
	}
	return r
}

// eachRemoved visits the names of removed resources.
func (r *response) eachRemoved(use func(name []byte)) {
	for c := (wire.Cursor{Rest: r.body}); c.Next(); {
		if c.Num == responseRemoved {
			use(c.Val)
		}
	}
}
