// Package config turns what a sidecar is started with into one validated Config:
// the command line, the environment, the mesh's proxy configuration and the pod's
// label and annotation files, in the places and under the names that Istio's
// injector and packages use.
//
// Load reads everything once, at start. Unknown ISTIO_ and proxy settings are
// named in Config.Warnings, never fatal. Later values win: built-in default, mesh
// file, environment PROXY_CONFIG, annotation proxy.istio.io/config, flag.
//
// It knows the standard library and YAML only, and no other part of the product.
package config
