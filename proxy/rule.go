package proxy

import (
	"time"

	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/upstream"
)

// Routes finds the rule for a request. random is the one random number of the
// stream, so that all choices of a request agree.
type Routes interface {
	Match(r *httpmsg.Request, random uint64) (*Rule, bool)
}

// Pending is a Routes that can tell whether its configuration has not arrived.
type Pending interface{ Pending() bool }

// Rule is what to do with a request once it matched: immutable, with every
// override of virtual host and route already applied.
type Rule struct {
	// Name is the route's name, VirtualHost that of the host it is under.
	Name        string
	VirtualHost string
	// ConfigName is Istio's metadata "config".
	ConfigName string

	// Exactly one of Clusters, Direct and Redirect is set.
	Clusters []WeightedCluster
	Direct   *Direct
	Redirect *Redirect

	// Priority chooses among the clusters' circuit breakers.
	Priority upstream.Priority
	// ClusterNotFound is the status where a cluster is not known; 0 means 503.
	ClusterNotFound int
	// Timeout bounds the exchange from the end of the request to the end of the
	// response; 0 is no bound. IdleTimeout overrides the chain's stream idle
	// timeout where it is not nil.
	Timeout     time.Duration
	IdleTimeout *time.Duration
	// MaxDuration bounds the exchange from its beginning to its end; 0 is no bound.
	MaxDuration time.Duration
	// GRPC, where set, has gRPC requests bring timeouts of their own.
	GRPC    *GRPCTimeout
	Retry   *Retry
	Rewrite *Rewrite
	Tunnels RuleTunnels
	// Hash is what clusters that pick by hash pick by.
	Hash []HashPolicy

	Edits RuleEdits

	// Mirrors get copies of requests.
	Mirrors []Mirror
	// Overrides are what the rule says of its chain's filters.
	Overrides []Override
	// Ext is lent to observers through the record.
	Ext any
}

// RuleTunnels says what a rule does with requests that become streams of bytes.
type RuleTunnels struct {
	// Upgrades overrides by token, in lower case, which upgrades may pass; "connect"
	// is CONNECT.
	Upgrades map[string]bool
	// Terminate ends CONNECT here: its bytes go to the cluster over TCP.
	Terminate bool
}

// RuleEdits are the header changes of a rule.
type RuleEdits struct {
	// Request and Response hold one list per level, in the order in which they
	// are applied: weighted cluster first (from WeightedCluster), then route,
	// virtual host, route configuration.
	Request  []*HeaderEdits
	Response []*HeaderEdits
	// IncludeAttemptCount sends x-envoy-attempt-count upstream.
	IncludeAttemptCount bool
	// AttemptCountInResponse tells the downstream how many attempts there were.
	AttemptCountInResponse bool
	// IncludeTimeoutRetry sends x-envoy-is-timeout-retry with further attempts.
	IncludeTimeoutRetry bool
	// Decorator is the operation name for x-envoy-decorator-operation.
	Decorator string
	// DecoratorNoPropagate keeps the decorator from being sent.
	DecoratorNoPropagate bool
}

// WeightedCluster is one of the clusters that a rule or a TCP chain splits over.
type WeightedCluster struct {
	Cluster *upstream.Cluster
	// Weight counts only where there are several clusters.
	Weight   uint32
	Request  *HeaderEdits
	Response *HeaderEdits
	// HostRewrite replaces the authority, where not empty.
	HostRewrite string
	// Overrides, where not nil, take the place of the rule's.
	Overrides []Override
}

// Direct is a configured answer.
type Direct struct {
	Status int
	Body   string
}

// Redirect is a configured redirection.
type Redirect struct {
	// Status defaults to 301.
	Status int
	// HTTPS asks for the scheme https, Scheme for any.
	HTTPS      bool
	Scheme     string
	Host       string
	Port       uint16
	Path       string
	StripQuery bool
	// Rewrite changes the path where Path is empty.
	Rewrite *PathRewrite
}

// Rewrite changes path and authority before a request is forwarded.
type Rewrite struct {
	Path *PathRewrite
	// Host replaces the authority, where not empty; or else the value of HostHeader,
	// what HostOfPath makes of the path, or the name of the endpoint that is picked.
	Host           string
	HostHeader     string // lower case
	HostOfPath     func(path string) string
	HostOfEndpoint bool
	// AppendForwardedHost adds the old authority to x-forwarded-host.
	AppendForwardedHost bool
}

// WeightTotal adds up the weights.
func WeightTotal(clusters []WeightedCluster) uint64 {
	var total uint64
	for i := range clusters {
		total += uint64(clusters[i].Weight)
	}
	return total
}

// pick chooses by the stream's random number over the cumulative weights.
func pick(clusters []WeightedCluster, random uint64) *WeightedCluster {
	if len(clusters) == 0 {
		return nil
	}
	if len(clusters) == 1 {
		return &clusters[0]
	}
	total := WeightTotal(clusters)
	if total == 0 {
		return nil
	}
	at := random % total
	for i := range clusters {
		w := uint64(clusters[i].Weight)
		if at < w {
			return &clusters[i]
		}
		at -= w
	}
	return nil
}
