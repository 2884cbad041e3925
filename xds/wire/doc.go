// Package wire walks protobuf resources at wire level by tables made from their descriptors.
//
// Life: a Checker holds what is allowed (Rules) and one seed for all hashes. A Walker, used by one goroutine, is given
// the bytes of one resource: it validates structure and values, follows each Any whose type it knows, computes a hash
// in which neither map order nor field order counts, and leaves behind the names that the resource refers to.
// Nothing is decoded and nothing is kept: all results point into the caller's bytes until the next walk.
// It must not import any generated protobuf package, and knows neither streams nor storage.
package wire

//go:generate go run ./gen
