package main

import (
	"io/fs"
	"testing/fstest"
)

// oneFile is a folder of configuration with one file.
func oneFile(text string) fs.FS {
	return fstest.MapFS{"mesh.yaml": &fstest.MapFile{Data: []byte(text)}}
}
