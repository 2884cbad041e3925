// Package acceptance checks the product from outside, as a user would: a real
// istiod, sidecars in network namespaces with real capture rules, real sockets.
//
// It holds tests alone, one file per theme. Each test starts the town of
// testdata, a client and a few servers, on a mesh of its own, shares it among its
// subtests, and talks through the sidecars by raw sockets or plain HTTP. What the
// application saw is told by the echo application, or by a listener of the test
// in the application's place. The bulk test moves less with -short.
//
// It must not know how the product works inside: it knows the two binaries' ports,
// files and log sentences.
package acceptance
