// Package httpmsg is the one model of an HTTP request and response that every
// part of the data path shares, whatever HTTP version either side speaks.
//
// A downstream codec parses a head into a Request and calls a Handler; the
// handler asks a RoundTripper for a Response and gives it to the
// ResponseWriter, which streams it. Nothing in between can see which HTTP
// version carries the bytes.
//
// Headers keep their order. Names are lower case. The strings of a message live
// until its exchange ends, since codecs parse into buffers that they use again:
// whoever keeps one longer clones it.
//
// It is a leaf: it knows the standard library only.
package httpmsg
