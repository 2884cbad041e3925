// Package peers starts and stops the proxies that a benchmark compares.
//
// A Launcher starts programs whose death follows from its own; Ports hands out
// free loopback ports. Each Kind knows how its proxy is configured for a Node,
// which is a list of feed.Hops: Outrigger and Envoy from the feed, HAProxy and
// nginx from files with the same ways and certificates and nothing else. Start
// writes the configuration, starts the process and waits until every hop takes
// connections; Stop asks it to end, and makes it.
//
// It must not know what is measured.
package peers
