package proxy

import (
	"strconv"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/outlier"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/route"
	"github.com/outrigger-mesh/outrigger/upstream"
)

// judge tells a cluster that watches for outliers what came of an attempt. What is
// repeated, since a connection had ended, is nobody's failure.
func (x *Exchange) judge(c *upstream.Cluster, ep *lb.Endpoint, opened bool, err error) {
	m := c.Monitor(ep)
	if m == nil {
		return
	}
	if opened {
		m.Report(outlier.Connected, 0)
	}
	if err == nil {
		m.Report(outlier.Answered, x.verdict(c, x.Response))
		return
	}
	if fe, ok := flow.AsError(err); ok && (fe.Kind == flow.KindConnectFailure || !x.trip.again) {
		x.blame(m, fe)
	}
}

// blame reports a failure, if it is the endpoint's. Stream time-outs of its own kinds
// are not, as in Envoy.
func (x *Exchange) blame(m *outlier.Monitor, fe *flow.Error) {
	switch fe.Kind {
	case flow.KindTimeout:
		if fe.Flag == flow.UpstreamRequestTimeout && x.trip.stream != nil {
			status := 504
			if x.trip.mild {
				status = 204
			}
			m.Report(outlier.TimedOut, status)
		}
	case flow.KindConnectFailure, flow.KindConnectTimeout, flow.KindTLSFailure, flow.KindTermination, flow.KindReset,
		flow.KindRefusedStream, flow.KindProtocol:
		if fe.Side == flow.SideUpstream {
			m.Report(outlier.ConnectFailed, 0)
		}
	case flow.KindOther, flow.KindOverflow, flow.KindNoEndpoint, flow.KindNoCluster, flow.KindCancelled:
	}
}

// blameLate is blame for a response that failed after its head.
func (x *Exchange) blameLate(fe *flow.Error) {
	tried := x.trip.hint.Tried
	if x.trip.cluster == nil || len(tried) == 0 || fe.Side != flow.SideUpstream {
		return
	}
	if m := x.trip.cluster.Cluster.Monitor(tried[len(tried)-1]); m != nil {
		x.blame(m, fe)
	}
}

// verdict is the status that counts for an answer: of gRPC the status in its head, and
// where the cluster says what an error is, what it says.
func (x *Exchange) verdict(c *upstream.Cluster, resp *httpmsg.Response) int {
	if route.IsGRPC(x.Request) {
		if status, ok := resp.Header.Get("grpc-status"); ok {
			return httpStatus(status)
		}
		return resp.Status
	}
	spec := c.Spec()
	if spec == nil || spec.HTTP.IsError == nil {
		return resp.Status
	}
	switch {
	case !spec.HTTP.IsError(resp):
		return 200
	case resp.Status < 500:
		return 500
	default:
		return resp.Status
	}
}

// httpStatus maps gRPC's status to the one of HTTP that stands for it, as Envoy does.
func httpStatus(status string) int {
	n, err := strconv.Atoi(status)
	if err != nil || n < 0 || n >= len(grpcStatuses) {
		return 500
	}
	return grpcStatuses[n]
}

// grpcStatuses are the statuses of HTTP by those of gRPC.
var grpcStatuses = [...]int{200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401}
