// Package sock reads and writes TCP sockets without telling Go's scheduler.
//
// The runtime brackets each system call, so that a thread which blocks in one gives
// its processor to another. A socket of Go never blocks: it says EAGAIN, and the
// poller waits. The brackets then cost more than they bring: on a machine with few
// processors its monitor takes processors away from calls that are about to return,
// which wakes threads and moves goroutines. Measured on two cores, a proxied
// HTTP/1.1 request costs a fifth less CPU without.
//
// A Conn is made from an accepted or dialled socket and lives as long; reading and
// writing through the socket beside it is allowed. Only calls that end soon are made
// this way: a very large write goes the usual one, since the scheduler cannot stop the
// world meanwhile.
//
// It must not know what the bytes mean.
package sock
