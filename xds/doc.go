// Package xds keeps what istiod says: a client of the incremental aggregated discovery service, and the store it fills.
//
// Life: Client.Run connects, asks for clusters and listeners and then for what they refer to, and again after each loss
// of connection, with the names it holds. Each response is walked on its wire bytes: bad resources are refused by name,
// unchanged ones stop there, the others are staged and committed to the Store together, compressed, outside of the Go
// heap. The Handler is told the names that changed, then istiod gets its ACK or NACK.
// It must not know what resources mean, beyond names, references and virtual hosts, and imports no message types.
package xds
