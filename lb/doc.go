// Package lb answers one question: which endpoint gets the next request?
//
// An Endpoint is an address with its counters; it survives every update that still
// names its address, so weights, health and metadata change under a live endpoint.
// A Set is what one update made of them: immutable, with the priorities' loads,
// panic and the lists to pick from worked out when it is built. Set.Pick chooses by
// the Set's Policy, without allocating and without a lock unless weights differ.
// The next update builds the next Set from the last, which hands its endpoints on.
//
// It opens no sockets and knows nothing of xDS.
package lb
