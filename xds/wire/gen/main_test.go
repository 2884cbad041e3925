package main

import (
	"bytes"
	"os"
	"testing"
)

func TestTablesAreUpToDate(t *testing.T) {
	want, err := newGenerator().generate()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../shape/tables_gen.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("the tables differ from the descriptors: run go generate ./xds/wire")
	}
}
