// Package shop is the small shop of the demo as Istio YAML: web calls reviews
// (three versions, split 80/15/5), reviews call ratings, and db is plain TCP.
//
// Files is a folder for testmesh.Config.FS.
package shop

import (
	"embed"
	"io/fs"
)

//go:embed mesh
var files embed.FS

// Files returns the folder of YAML.
func Files() fs.FS {
	sub, err := fs.Sub(files, "mesh")
	if err != nil {
		panic(err) // the folder is compiled in
	}
	return sub
}

// Pods are the names of the shop's workloads.
func Pods() []string {
	return []string{"web", "reviews-v1", "reviews-v2", "reviews-v3", "ratings", "db"}
}
