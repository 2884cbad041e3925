//go:build !race

package http1

func spoil([]byte) {}
