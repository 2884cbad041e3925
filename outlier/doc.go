// Package outlier decides which endpoints of a cluster fail so often that they are
// taken out of use for a while: Envoy's outlier detection.
//
// A Detector belongs to a cluster, a Monitor to one of its endpoints. Whoever made an
// attempt reports its outcome to the Monitor, which counts in atomics and, when enough
// failures followed each other, has the Detector eject the endpoint. A sweep at each
// interval returns endpoints whose time is up and compares success rates; it runs while
// there is something to sweep. What was ejected is marked at the lb.Endpoint, and the
// owner is told to weigh the endpoints anew. Monitors outlive updates.
//
// It makes no attempts, and knows nothing of pools or protocols.
package outlier
