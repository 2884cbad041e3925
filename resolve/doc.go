// Package resolve turns the names of endpoints into addresses, and keeps them fresh.
//
// A Resolver asks as the system's resolver would: the hosts file first, then the
// name servers and the search list of resolv.conf, both read again when they change.
// A Watch asks for some names again and again, as their time to live says, and tells
// when an answer has changed. A failure leaves the last answer standing; that a name
// does not exist is an answer.
//
// It knows nothing of clusters.
package resolve
