package accesslog

import (
	"errors"

	"github.com/outrigger-mesh/outrigger/flow"
)

// valueFunc appends a value, unescaped, or reports that there is none.
type valueFunc func(dst []byte, r *flow.Record) ([]byte, bool)

// shape says how a value is written.
type shape uint8

const (
	// foreign strings come from outside and must be escaped.
	foreign shape = iota
	// plain strings consist of harmless characters.
	plain
	// number values stand without quotes in JSON.
	number
)

// argRule says whether an operator takes an argument.
type argRule uint8

const (
	argNone argRule = iota
	argOptional
	argRequired
)

func (a argRule) check(t token) error {
	switch {
	case a == argNone && t.hasArg:
		return errors.New("takes no argument")
	case a == argRequired && t.arg == "":
		return errors.New("needs an argument")
	default:
		return nil
	}
}

// spec describes an operator. A nil build is an operator of Envoy that a record
// cannot answer.
type spec struct {
	arg   argRule
	shape shape
	build func(arg string, env *Environment) (valueFunc, error)
}

// fixed is the build function of operators without an argument.
func fixed(v valueFunc) func(string, *Environment) (valueFunc, error) {
	return func(string, *Environment) (valueFunc, error) { return v, nil }
}

func absent(dst []byte, _ *flow.Record) ([]byte, bool) { return dst, false }

// operators is Envoy's language. Names are Envoy's own
// (docs: configuration/observability/access_log/usage).
var operators = map[string]spec{
	// Request and response.
	"REQ":                   {argRequired, foreign, buildRequestHeader},
	"RESP":                  {argRequired, foreign, buildResponseHeader},
	"TRAILER":               {argRequired, foreign, buildTrailer},
	"REQ_WITHOUT_QUERY":     {argRequired, foreign, buildRequestHeaderWithoutQuery},
	"PATH":                  {argOptional, foreign, buildPath},
	"QUERY_PARAM":           {argRequired, foreign, buildQueryParam},
	"QUERY_PARAMS":          {argOptional, foreign, buildQueryParams},
	"PROTOCOL":              {argNone, plain, fixed(protocol)},
	"RESPONSE_CODE":         {argNone, number, fixed(responseCode)},
	"RESPONSE_CODE_DETAILS": {argOptional, foreign, buildDetails},
	"RESPONSE_FLAGS":        {argNone, plain, fixed(flagsShort)},
	"RESPONSE_FLAGS_LONG":   {argNone, plain, fixed(flagsLong)},
	"ROUTE_NAME":            {argNone, foreign, fixed(routeName)},
	"GRPC_STATUS":           {argOptional, plain, buildGRPCStatus},
	"GRPC_STATUS_NUMBER":    {argNone, number, fixed(grpcStatusNumber)},
	"STREAM_ID":             {argNone, foreign, buildStreamID},
	"ACCESS_LOG_TYPE":       {argNone, plain, fixed(logType)},

	// Times and sizes.
	"START_TIME":           {argOptional, foreign, buildStartTime},
	"START_TIME_LOCAL":     {argOptional, foreign, buildStartTimeLocal},
	"EMIT_TIME":            {argOptional, foreign, buildEmitTime},
	"EMIT_TIME_LOCAL":      {argOptional, foreign, buildEmitTimeLocal},
	"DURATION":             {argNone, number, fixed(duration)},
	"REQUEST_DURATION":     {argNone, number, fixed(requestDuration)},
	"RESPONSE_DURATION":    {argNone, number, fixed(responseDuration)},
	"RESPONSE_TX_DURATION": {argNone, number, fixed(responseSendDuration)},
	"COMMON_DURATION":      {argRequired, number, buildCommonDuration},
	"BYTES_RECEIVED":       {argNone, number, fixed(bytesReceived)},
	"BYTES_SENT":           {argNone, number, fixed(bytesSent)},

	// The connection and its ends.
	"CONNECTION_ID":                                 {argNone, number, fixed(connectionID)},
	"CONNECTION_TERMINATION_DETAILS":                {argNone, foreign, fixed(terminationDetails)},
	"FILTER_CHAIN_NAME":                             {argNone, foreign, fixed(chainName)},
	"REQUESTED_SERVER_NAME":                         {argOptional, foreign, buildServerName},
	"HOSTNAME":                                      {argNone, foreign, buildHostname},
	"ENVIRONMENT":                                   {argRequired, foreign, buildEnvironment},
	"DOWNSTREAM_REMOTE_ADDRESS":                     {argNone, foreign, address(remote, withPort)},
	"DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT":        {argNone, foreign, address(remote, addressOnly)},
	"DOWNSTREAM_REMOTE_PORT":                        {argNone, number, address(remote, portOnly)},
	"DOWNSTREAM_DIRECT_REMOTE_ADDRESS":              {argNone, foreign, address(directRemote, withPort)},
	"DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT": {argNone, foreign, address(directRemote, addressOnly)},
	"DOWNSTREAM_DIRECT_REMOTE_PORT":                 {argNone, number, address(directRemote, portOnly)},
	"DOWNSTREAM_LOCAL_ADDRESS":                      {argNone, foreign, address(destination, withPort)},
	"DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT":         {argNone, foreign, address(destination, addressOnly)},
	"DOWNSTREAM_LOCAL_PORT":                         {argNone, number, address(destination, portOnly)},
	"DOWNSTREAM_DIRECT_LOCAL_ADDRESS":               {argNone, foreign, address(local, withPort)},
	"DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT":  {argNone, foreign, address(local, addressOnly)},
	"DOWNSTREAM_DIRECT_LOCAL_PORT":                  {argNone, number, address(local, portOnly)},

	// The upstream.
	"UPSTREAM_HOST":                        {argNone, foreign, address(endpoint, withPort)},
	"UPSTREAM_HOST_NAME":                   {argNone, foreign, address(endpoint, withPort)},
	"UPSTREAM_HOST_NAME_WITHOUT_PORT":      {argNone, foreign, address(endpoint, addressOnly)},
	"UPSTREAM_REMOTE_ADDRESS":              {argNone, foreign, address(reached, withPort)},
	"UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": {argNone, foreign, address(reached, addressOnly)},
	"UPSTREAM_REMOTE_PORT":                 {argNone, number, address(reached, portOnly)},
	"UPSTREAM_LOCAL_ADDRESS":               {argNone, foreign, address(upstreamLocal, withPort)},
	"UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT":  {argNone, foreign, address(upstreamLocal, addressOnly)},
	"UPSTREAM_LOCAL_PORT":                  {argNone, number, address(upstreamLocal, portOnly)},
	"UPSTREAM_CLUSTER":                     {argNone, foreign, fixed(clusterName)},
	"UPSTREAM_CLUSTER_RAW":                 {argNone, foreign, fixed(clusterName)},
	"UPSTREAM_REQUEST_ATTEMPT_COUNT":       {argNone, number, fixed(attemptCount)},
	"UPSTREAM_TRANSPORT_FAILURE_REASON":    {argNone, foreign, fixed(failureReason)},

	// TLS.
	"DOWNSTREAM_TLS_VERSION":              {argNone, plain, fixed(tlsVersion)},
	"DOWNSTREAM_TRANSPORT_FAILURE_REASON": {argNone, plain, fixed(handshakeFailure)},
	"DOWNSTREAM_TLS_CIPHER":               {argNone, plain, fixed(tlsCipher)},
	"DOWNSTREAM_PEER_URI_SAN":             {argNone, foreign, identity(downstreamPeer, uriSANs)},
	"DOWNSTREAM_PEER_DNS_SAN":             {argNone, foreign, identity(downstreamPeer, dnsSANs)},
	"DOWNSTREAM_PEER_SUBJECT":             {argNone, foreign, identity(downstreamPeer, subject)},
	"DOWNSTREAM_PEER_SERIAL":              {argNone, foreign, identity(downstreamPeer, serial)},
	"DOWNSTREAM_PEER_FINGERPRINT_256":     {argNone, foreign, identity(downstreamPeer, fingerprint)},
	"DOWNSTREAM_PEER_CERT_V_END":          {argOptional, foreign, buildCertEnd(downstreamPeer)},
	"DOWNSTREAM_LOCAL_URI_SAN":            {argNone, foreign, identity(downstreamOwn, uriSANs)},
	"DOWNSTREAM_LOCAL_DNS_SAN":            {argNone, foreign, identity(downstreamOwn, dnsSANs)},
	"DOWNSTREAM_LOCAL_SUBJECT":            {argNone, foreign, identity(downstreamOwn, subject)},
	"UPSTREAM_PEER_URI_SAN":               {argNone, foreign, identity(upstreamPeer, uriSANs)},
	"UPSTREAM_PEER_DNS_SAN":               {argNone, foreign, identity(upstreamPeer, dnsSANs)},
	"UPSTREAM_PEER_SUBJECT":               {argNone, foreign, identity(upstreamPeer, subject)},
	"UPSTREAM_PEER_SERIAL":                {argNone, foreign, identity(upstreamPeer, serial)},
	"UPSTREAM_PEER_FINGERPRINT_256":       {argNone, foreign, identity(upstreamPeer, fingerprint)},
	"UPSTREAM_PEER_CERT_V_END":            {argOptional, foreign, buildCertEnd(upstreamPeer)},

	// Known to Envoy, not to a record.
	"BYTES_RETRANSMITTED": {},
	"CEL":                 {},
	"CLUSTER_METADATA":    {},
	"CUSTOM_FLAGS":        {},
	"DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED": {},
	"DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT":     {},
	"DOWNSTREAM_DETECTED_CLOSE_TYPE":                {},
	"DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID":   {},
	"DOWNSTREAM_HANDSHAKE_DURATION":                 {},
	"DOWNSTREAM_HEADER_BYTES_RECEIVED":              {},
	"DOWNSTREAM_HEADER_BYTES_SENT":                  {},
	"DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID":          {},
	"DOWNSTREAM_LOCAL_CLOSE_REASON":                 {},
	"DOWNSTREAM_LOCAL_EMAIL_SAN":                    {},
	"DOWNSTREAM_LOCAL_IP_SAN":                       {},
	"DOWNSTREAM_LOCAL_OTHERNAME_SAN":                {},
	"DOWNSTREAM_PEER_CERT":                          {},
	"DOWNSTREAM_PEER_CERT_V_START":                  {},
	"DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1":          {},
	"DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256":        {},
	"DOWNSTREAM_PEER_CHAIN_SERIALS":                 {},
	"DOWNSTREAM_PEER_EMAIL_SAN":                     {},
	"DOWNSTREAM_PEER_FINGERPRINT_1":                 {},
	"DOWNSTREAM_PEER_IP_SAN":                        {},
	"DOWNSTREAM_PEER_ISSUER":                        {},
	"DOWNSTREAM_PEER_OTHERNAME_SAN":                 {},
	"DOWNSTREAM_TLS_SESSION_ID":                     {},
	"DOWNSTREAM_WIRE_BYTES_RECEIVED":                {},
	"DOWNSTREAM_WIRE_BYTES_SENT":                    {},
	"DYNAMIC_METADATA":                              {},
	"FILTER_STATE":                                  {},
	"LOCAL_REPLY_BODY":                              {},
	"METADATA":                                      {},
	"PACKETS_RETRANSMITTED":                         {},
	"REQUEST_HEADERS_BYTES":                         {},
	"REQUEST_TX_DURATION":                           {},
	"RESPONSE_HEADERS_BYTES":                        {},
	"RESPONSE_TRAILERS_BYTES":                       {},
	"ROUNDTRIP_DURATION":                            {},
	"SPAN_ID":                                       {},
	"TLS_JA3_FINGERPRINT":                           {},
	"TLS_JA4_FINGERPRINT":                           {},
	"TRACE_ID":                                      {},
	"UNIQUE_ID":                                     {},
	"UPSTREAM_CONNECTION_ID":                        {},
	"UPSTREAM_CONNECTION_IDS_ATTEMPTED":             {},
	"UPSTREAM_CONNECTION_POOL_READY_DURATION":       {},
	"UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED":   {},
	"UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT":       {},
	"UPSTREAM_DETECTED_CLOSE_TYPE":                  {},
	"UPSTREAM_FILTER_STATE":                         {},
	"UPSTREAM_HEADER_BYTES_RECEIVED":                {},
	"UPSTREAM_HEADER_BYTES_SENT":                    {},
	"UPSTREAM_HOSTS_ATTEMPTED":                      {},
	"UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT":         {},
	"UPSTREAM_HOST_NAMES_ATTEMPTED":                 {},
	"UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT":    {},
	"UPSTREAM_LOCAL_CLOSE_REASON":                   {},
	"UPSTREAM_LOCAL_DNS_SAN":                        {},
	"UPSTREAM_LOCAL_SUBJECT":                        {},
	"UPSTREAM_LOCAL_URI_SAN":                        {},
	"UPSTREAM_METADATA":                             {},
	"UPSTREAM_PEER_CERT":                            {},
	"UPSTREAM_PEER_CERT_V_START":                    {},
	"UPSTREAM_PEER_EMAIL_SAN":                       {},
	"UPSTREAM_PEER_IP_SAN":                          {},
	"UPSTREAM_PEER_ISSUER":                          {},
	"UPSTREAM_PEER_OTHERNAME_SAN":                   {},
	"UPSTREAM_PROTOCOL":                             {},
	"UPSTREAM_TLS_CIPHER":                           {},
	"UPSTREAM_TLS_SESSION_ID":                       {},
	"UPSTREAM_TLS_VERSION":                          {},
	"UPSTREAM_WIRE_BYTES_RECEIVED":                  {},
	"UPSTREAM_WIRE_BYTES_SENT":                      {},
	"VIRTUAL_CLUSTER_NAME":                          {},
}
