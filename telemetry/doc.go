// Package telemetry joins the observers of finished flows.
//
// A connection manager or a TCP proxy is compiled with one Observer that stands for
// its metrics, its access logs and later its spans. It is immutable; the data path
// calls it once per record and knows none of its parts.
//
// It knows flow.Record and the Observer interface, and nothing of configuration.
package telemetry
