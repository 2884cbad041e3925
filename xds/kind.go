package xds

// Type URLs of the resources that a sidecar asks for.
const (
	TypeCluster   = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	TypeEndpoint  = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	TypeListener  = "type.googleapis.com/envoy.config.listener.v3.Listener"
	TypeRoute     = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	TypeExtension = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
	TypeSecret    = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
	TypeNameTable = "type.googleapis.com/istio.networking.nds.v1.NameTable"
)

// kind numbers the types in the order in which they are asked for.
type kind uint8

const (
	cds kind = iota
	eds
	lds
	rds
	ecds
	sds
	nds
	kinds
)

// trait is what is fixed about a type.
type trait struct {
	url, short, noun string
	wildcard         bool
}

var traits = [kinds]trait{
	cds:  {TypeCluster, "CDS", "cluster", true},
	eds:  {TypeEndpoint, "EDS", "endpoints", false},
	lds:  {TypeListener, "LDS", "listener", true},
	rds:  {TypeRoute, "RDS", "route configuration", false},
	ecds: {TypeExtension, "ECDS", "extension", false},
	sds:  {TypeSecret, "SDS", "secret", false},
	nds:  {TypeNameTable, "NDS", "name table", true},
}

// kindOf finds the kind of a type URL.
func kindOf(url string) (kind, bool) {
	for k := range kinds {
		if traits[k].url == url {
			return k, true
		}
	}
	return 0, false
}

// typeName is the type URL without its prefix.
func (k kind) typeName() string { return traits[k].url[len("type.googleapis.com/"):] }
