package twin

import "slices"

// trials returns the corpus.
func trials() []trial {
	var c corpus
	c.matches()
	c.answersOfRoutes()
	c.edits()
	c.requestHeaders()
	c.paths()
	c.hosts()
	c.malformed()
	c.bodies()
	c.responses()
	c.failures()
	c.retries()
	c.upgrades()
	c.inbound()
	c.policies()
	c.tcp()
	c.http2()
	c.grpc()
	c.filters()
	return c.list
}

// Hosts of the mesh, and where they are dialled.
const (
	routesHost, routesAt = "routes.twin.svc.cluster.local", "routes.twin:80"
	webHost, webAt       = "web.twin.svc.cluster.local", "web.twin:80"
	serverHost, serverAt = "server.twin:8080", "10.0.2.1:8080"
)

// route adds a request to the virtual service with every kind of route.
func (c *corpus) route(name, send string, answers ...answer) *trial {
	return c.add(trial{name: "outbound/" + name, to: routesAt, send: []string{send}, answers: answers})
}

// rest adds a request to a route that does nothing special and is not retried.
func (c *corpus) rest(name string, answers []answer, send ...string) *trial {
	return c.add(trial{name: "outbound/" + name, to: routesAt, send: send, answers: answers})
}

// in adds a request that comes to the server's sidecar over mutual TLS.
func (c *corpus) in(name string, answers []answer, send ...string) *trial {
	return c.add(trial{name: "inbound/" + name, from: "caller", to: serverAt, hello: mutual("8080", "istio-http/1.1", "istio", "http/1.1"), send: send, answers: answers})
}

// plainPath is matched by a route without retries.
const plainPath = "/retry-none"

func plain(lines ...string) string { return get(routesHost, plainPath, lines...) }

func post(body string, lines ...string) string {
	return req("POST", routesHost, plainPath, lines...) + body
}

// each calls f with every name and value of a list of pairs.
func each(pairs [][2]string, f func(name, v string)) {
	for p := range slices.Values(pairs) {
		f(p[0], p[1])
	}
}
