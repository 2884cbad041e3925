//go:build !race

package proxy

func (x *Exchange) poison() {}

func (x *Exchange) cure() {}
