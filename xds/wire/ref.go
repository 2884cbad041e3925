package wire

// The field numbers of resources that are read outside of the tables.
const (
	clusterType        = 2
	clusterEDS         = 3
	edsServiceName     = 2
	discoveryTypeEDS   = 3
	sourceADS          = 3
	routeVirtualHosts  = 2
	hostDomains        = 2
	resourceNameNumber = 1
)

// RefKind is the type of a resource that is referred to.
type RefKind uint8

// The types of resources that others refer to.
const (
	EDS RefKind = iota
	RDS
	ECDS
	SDS
)

// Ref is the name of a resource that is to be asked for.
type Ref struct {
	Kind RefKind
	Name []byte
}

// Name returns the name that a resource gives itself; every named type has it in field 1.
func Name(b []byte) []byte {
	var name []byte
	for c := (Cursor{Rest: b}); c.Next(); {
		if c.Num == resourceNameNumber && c.Type == wireBytes {
			name = c.Val
		}
	}
	return name
}

// refer notes a reference that is to be resolved by the same stream, not by a file or another server.
func (w *Walker) refer(kind RefKind, b []byte, nameField, sourceField int) {
	var name []byte
	ads := false
	for c := (Cursor{Rest: b}); c.Next(); {
		switch c.Num {
		case nameField:
			name = c.Val
		case sourceField:
			for s := (Cursor{Rest: c.Val}); s.Next(); {
				ads = ads || s.Num == sourceADS
			}
		}
	}
	if ads && len(name) > 0 {
		w.Refs = append(w.Refs, Ref{Kind: kind, Name: name})
	}
}

// clusterRef notes the endpoints of a cluster of type EDS.
func (w *Walker) clusterRef(b []byte) {
	var name, service []byte
	eds := false
	for c := (Cursor{Rest: b}); c.Next(); {
		switch c.Num {
		case resourceNameNumber:
			name = c.Val
		case clusterType:
			eds = c.Bits == discoveryTypeEDS
		case clusterEDS:
			for e := (Cursor{Rest: c.Val}); e.Next(); {
				if e.Num == edsServiceName {
					service = e.Val
				}
			}
		}
	}
	if !eds {
		return
	}
	if len(service) == 0 {
		service = name
	}
	w.Refs = append(w.Refs, Ref{Kind: EDS, Name: service})
}

// VirtualHosts calls use with each virtual host of a RouteConfiguration, and rest with each run of bytes between.
func VirtualHosts(b []byte, use func(host []byte) bool, rest func(run []byte)) error {
	c := Cursor{Rest: b}
	for c.Next() {
		if c.Num != routeVirtualHosts {
			rest(c.Raw)
			continue
		}
		if c.Type != wireBytes {
			return errWireType
		}
		if !use(c.Val) {
			return nil
		}
	}
	return c.Err
}

// Domains calls use with each domain of a virtual host.
func Domains(host []byte, use func(domain []byte)) {
	for c := (Cursor{Rest: host}); c.Next(); {
		if c.Num == hostDomains && c.Type == wireBytes {
			use(c.Val)
		}
	}
}
