// Package echo is the benchmark's backend: servers that cost next to nothing.
//
// Its life: Start opens a listening socket for each kind of server; a connection is
// one goroutine that reads, parses just enough, and writes answers that were built
// beforehand; Close ends the sockets and waits for the connections. Child does the
// same as a process of its own.
//
// It must not know who calls, nor how it is measured.
package echo
