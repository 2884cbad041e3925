// Package compile turns xDS resources into the values that the data path runs on.
//
// The xDS client hands over what changed; the compiler updates the live objects
// that exist already (a cluster's spec and endpoints, a listener's chains, a
// route table) and leaves the rest as bytes in the store. A live object that is
// used for the first time while it is empty asks to be filled, and the compiler
// builds it then, once for all who wait, in bounded time. One function turns one
// message into one value; mistakes carry the resource's name and the field's
// path.
//
// It is, with package xds, the only home of Envoy's configuration messages, and
// the only writer of configuration. It moves no traffic and opens no sockets.
package compile
