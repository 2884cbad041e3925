//go:build oracle

package oracle_test

import (
	"bufio"
	"io"
	"net"
	"sync"
	"time"
)

// outlying are the fields of outlier detection with what every play sets.
func outlying(fields object) object {
	o := object{
		"interval": "600s", "base_ejection_time": "600s", "max_ejection_percent": 100, "consecutive_5xx": 0, "consecutive_gateway_failure": 0,
		"enforcing_success_rate": 0, "enforcing_local_origin_success_rate": 0,
	}
	for k, v := range fields {
		o[k] = v
	}
	return object{"outlier_detection": o}
}

func breakers(fields object) object {
	t := object{"max_connections": 4294967295, "max_pending_requests": 4294967295, "max_requests": 4294967295, "max_retries": 4294967295, "track_remaining": true}
	for k, v := range fields {
		t[k] = v
	}
	return object{"circuit_breakers": object{"thresholds": []object{t}}}
}

func and(a, b object) object {
	out := object{}
	for _, o := range []object{a, b} {
		for k, v := range o {
			out[k] = v
		}
	}
	return out
}

func closes(_ *stand, _ net.Conn, r *bufio.Reader) { _, _ = readRequest(r) }

func plays() []play {
	good, bad, gateway := responds(200), responds(500), responds(502)
	retrying := object{"retry_policy": object{"retry_on": "5xx,reset,connect-failure,refused-stream", "num_retries": 1, "retry_back_off": object{"base_interval": "0.001s"}}}
	all := []play{
		{name: "o-5xx", endpoints: []endpoint{good, bad}, cluster: outlying(object{"consecutive_5xx": 3}), run: func(s *stand) { s.times(20) }},
		{name: "o-5xx-not", endpoints: []endpoint{good, bad}, cluster: outlying(object{"consecutive_5xx": 3, "enforcing_consecutive_5xx": 0}), run: func(s *stand) { s.times(20) }},
		{name: "o-gateway", endpoints: []endpoint{obeys}, cluster: outlying(object{"consecutive_gateway_failure": 3, "enforcing_consecutive_gateway_failure": 100}), run: func(s *stand) {
			for _, status := range []string{"502", "503", "500", "504", "404", "502", "504", "503", "200"} {
				s.times(1, "x-status: "+status)
			}
		}},
		{name: "o-istiod", endpoints: []endpoint{gateway, nil}, cluster: outlying(object{"consecutive_5xx": 5, "consecutive_gateway_failure": 3, "enforcing_consecutive_5xx": 100, "enforcing_consecutive_gateway_failure": 100, "split_external_local_origin_errors": true}), run: func(s *stand) { s.times(14) }},
		{name: "o-refused", endpoints: []endpoint{good, nil}, cluster: outlying(object{"consecutive_5xx": 4}), run: func(s *stand) { s.times(20) }},
		{name: "o-refused-apart", endpoints: []endpoint{good, nil}, cluster: outlying(object{"consecutive_5xx": 2, "consecutive_local_origin_failure": 4, "split_external_local_origin_errors": true}), run: func(s *stand) { s.times(20) }},
		{name: "o-closes", endpoints: []endpoint{good, closes}, cluster: outlying(object{"consecutive_5xx": 4}), run: func(s *stand) { s.times(20) }},
		{name: "o-closes-apart", endpoints: []endpoint{good, closes}, cluster: outlying(object{"consecutive_5xx": 2, "consecutive_local_origin_failure": 2, "split_external_local_origin_errors": true}), run: func(s *stand) { s.times(20) }},
		{name: "o-garbage", endpoints: []endpoint{good, func(_ *stand, c net.Conn, r *bufio.Reader) {
			_, _ = readRequest(r)
			_, _ = io.WriteString(c, "what?\r\n\r\n")
		}}, cluster: outlying(object{"consecutive_gateway_failure": 3, "enforcing_consecutive_gateway_failure": 100}), run: func(s *stand) { s.times(20) }},
		{name: "o-breaks-off", endpoints: []endpoint{func(_ *stand, c net.Conn, r *bufio.Reader) {
			_, _ = readRequest(r)
			_, _ = io.WriteString(c, "HTTP/1.1 500 X\r\ncontent-length: 9\r\n\r\nabc")
		}}, cluster: outlying(object{"consecutive_5xx": 5}), run: func(s *stand) { s.times(4) }},
		{name: "o-silent", endpoints: []endpoint{good, func(_ *stand, _ net.Conn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) }}, route: object{"timeout": "0.1s"}, cluster: outlying(object{"consecutive_gateway_failure": 3, "enforcing_consecutive_gateway_failure": 100}), run: func(s *stand) { s.times(12) }},
		{name: "o-silent-try", endpoints: []endpoint{func(_ *stand, _ net.Conn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) }}, route: and(retrying, object{"retry_policy": object{"retry_on": "5xx", "num_retries": 2, "per_try_timeout": "0.1s", "retry_back_off": object{"base_interval": "0.001s"}}}), cluster: outlying(object{"consecutive_gateway_failure": 3, "enforcing_consecutive_gateway_failure": 100}), run: func(s *stand) { s.times(2) }},
		{name: "o-too-many", endpoints: []endpoint{bad, bad, bad}, cluster: outlying(object{"consecutive_5xx": 3, "max_ejection_percent": 50}), run: func(s *stand) { s.times(21) }},
		{name: "o-percent-of-few", endpoints: []endpoint{good, bad}, cluster: outlying(object{"consecutive_5xx": 3, "max_ejection_percent": 10}), run: func(s *stand) { s.times(20) }},
		{name: "o-always-one", endpoints: []endpoint{bad, bad, bad}, cluster: outlying(object{"consecutive_5xx": 3, "max_ejection_percent": 0, "always_eject_one_host": true}), run: func(s *stand) { s.times(21) }},
		{name: "o-all", endpoints: []endpoint{bad, bad}, cluster: outlying(object{"consecutive_5xx": 2}), run: func(s *stand) { s.times(10) }},
		{name: "o-panic", endpoints: []endpoint{bad, bad}, cluster: and(outlying(object{"consecutive_5xx": 2}), object{"common_lb_config": lbConfig(60)}), run: func(s *stand) { s.times(10) }},
		{name: "o-retried", endpoints: []endpoint{good, bad}, cluster: outlying(object{"consecutive_5xx": 3}), route: retrying, run: func(s *stand) { s.times(20) }},
		{name: "o-grpc-head", endpoints: []endpoint{good, responds(200, "content-type: application/grpc", "grpc-status: 14")}, cluster: outlying(object{"consecutive_5xx": 3}), run: func(s *stand) { s.times(20, "content-type: application/grpc") }},
		{name: "o-grpc-cancelled", endpoints: []endpoint{good, responds(200, "content-type: application/grpc", "grpc-status: 1")}, cluster: outlying(object{"consecutive_5xx": 3}), run: func(s *stand) { s.times(20, "content-type: application/grpc") }},
		{name: "o-grpc-strange", endpoints: []endpoint{good, responds(200, "content-type: application/grpc", "grpc-status: 99")}, cluster: outlying(object{"consecutive_5xx": 3}), run: func(s *stand) { s.times(20, "content-type: application/grpc") }},
		{name: "o-matcher", endpoints: []endpoint{responds(500), responds(418)}, cluster: outlying(object{"consecutive_5xx": 3}), options: object{"outlier_detection": object{"error_matcher": object{"http_response_headers_match": object{"headers": []object{{"name": ":status", "string_match": object{"exact": "418"}}}}}}}, run: func(s *stand) { s.times(20) }},
		{name: "o-returns", endpoints: []endpoint{bad}, cluster: outlying(object{"consecutive_5xx": 2, "interval": "0.2s", "base_ejection_time": "0.3s", "max_ejection_time": "0.3s"}), run: func(s *stand) {
			for range 3 {
				s.times(3)
				s.until("outlier_detection.ejections_active", 0)
			}
		}},
		{name: "o-rate", chance: true, endpoints: []endpoint{good, good, good, good, bad}, cluster: outlying(object{"interval": "2s", "success_rate_minimum_hosts": 5, "success_rate_request_volume": 5, "success_rate_stdev_factor": 1900, "enforcing_success_rate": 100}), run: func(s *stand) {
			for i := 0; i < 20 && s.stats()["outlier_detection.ejections_active"] == 0; i++ {
				for range 60 {
					s.ask()
				}
			}
		}},
		{name: "o-percentage", chance: true, endpoints: []endpoint{good, good, bad}, cluster: outlying(object{"interval": "2s", "failure_percentage_minimum_hosts": 3, "failure_percentage_request_volume": 5, "failure_percentage_threshold": 60, "enforcing_failure_percentage": 100}), run: func(s *stand) {
			for i := 0; i < 20 && s.stats()["outlier_detection.ejections_active"] == 0; i++ {
				for range 60 {
					s.ask()
				}
			}
		}},
		{name: "o-tcp", tcp: true, chance: true, endpoints: []endpoint{echoes, nil}, cluster: outlying(object{"consecutive_5xx": 3}), run: func(s *stand) { s.times(12) }},
		{name: "o-tcp-apart", tcp: true, chance: true, endpoints: []endpoint{echoes, nil}, cluster: outlying(object{"consecutive_local_origin_failure": 3, "split_external_local_origin_errors": true}), run: func(s *stand) { s.times(12) }},
	}
	return append(all, broken(retrying)...)
}

func echoes(_ *stand, c net.Conn, r *bufio.Reader) { _, _ = io.Copy(c, r) }

// broken are the plays of circuit breakers.
func broken(retrying object) []play {
	one := []endpoint{obeys}
	held := func(n int) func(*stand) { // n requests are held, and one more is sent
		return func(s *stand) {
			var wg sync.WaitGroup
			for range n {
				s.aside(&wg, "x-hold: all")
			}
			s.ask()
			s.release()
			wg.Wait()
			s.ask()
		}
	}
	return []play{
		{name: "b-requests", endpoints: one, cluster: breakers(object{"max_requests": 1}), run: held(1)},
		{name: "b-requests-3", endpoints: one, cluster: breakers(object{"max_requests": 3}), run: held(3)},
		{name: "b-no-requests", endpoints: one, cluster: breakers(object{"max_requests": 0}), run: func(s *stand) { s.times(2) }},
		{name: "b-no-pending", endpoints: one, cluster: breakers(object{"max_pending_requests": 0}), run: func(s *stand) { s.times(2) }},
		{name: "b-no-connections", endpoints: one, cluster: breakers(object{"max_connections": 0}), run: func(s *stand) { s.times(2) }},
		{name: "b-pending", endpoints: one, cluster: breakers(object{"max_connections": 1, "max_pending_requests": 1}), run: func(s *stand) {
			var wg sync.WaitGroup
			s.aside(&wg, "x-hold: all")
			wg.Go(func() { s.ask() })
			s.until("upstream_rq_pending_active", 1)
			s.ask()
			s.release()
			wg.Wait()
		}},
		{name: "b-connections", endpoints: one, cluster: breakers(object{"max_connections": 1}), run: func(s *stand) {
			var wg sync.WaitGroup
			s.aside(&wg, "x-hold: all")
			for range 5 {
				wg.Go(func() { s.ask() })
			}
			s.until("upstream_rq_pending_active", 5)
			s.release()
			wg.Wait()
		}},
		{name: "b-connections-each", endpoints: []endpoint{obeys, obeys}, cluster: breakers(object{"max_connections": 1}), run: func(s *stand) {
			var wg sync.WaitGroup
			s.aside(&wg, "x-hold: all")
			s.aside(&wg, "x-hold: all")
			s.release()
			wg.Wait()
		}},
		{name: "b-retries", endpoints: one, route: retrying, cluster: breakers(object{"max_retries": 1}), run: func(s *stand) {
			var wg sync.WaitGroup
			s.aside(&wg, "x-hold: again", "x-status: 503")
			<-s.arrived // the retry, which is held
			s.ask("x-status: 503")
			s.release()
			wg.Wait()
			s.ask("x-status: 503")
		}},
		{name: "b-no-retries", endpoints: one, route: retrying, cluster: breakers(object{"max_retries": 0}), run: func(s *stand) { s.times(2, "x-status: 503") }},
		{name: "b-budget", endpoints: one, route: retrying, cluster: breakers(object{"retry_budget": object{"budget_percent": object{"value": 50}, "min_retry_concurrency": 0}}), run: func(s *stand) {
			s.ask("x-status: 503")
			var wg sync.WaitGroup
			for range 3 {
				s.aside(&wg, "x-hold: all")
			}
			s.ask("x-status: 503")
			s.release()
			wg.Wait()
		}},
		{name: "b-budget-least", endpoints: one, route: retrying, cluster: breakers(object{"retry_budget": object{"min_retry_concurrency": 1}}), run: func(s *stand) { s.times(3, "x-status: 503") }},
		{name: "b-high", endpoints: one, route: object{"priority": "HIGH"}, cluster: object{"circuit_breakers": object{"thresholds": []object{
			{"max_requests": 10}, {"priority": "HIGH", "max_requests": 1, "track_remaining": true},
		}}}, run: held(1)},
		{name: "b-first-counts", endpoints: one, cluster: object{"circuit_breakers": object{"thresholds": []object{{"max_requests": 1}, {"max_requests": 10}}}}, run: held(1)},
		{name: "b-max-per-connection", endpoints: one, options: object{"common_http_protocol_options": object{"max_requests_per_connection": 2}}, run: func(s *stand) { s.times(7) }},
		{name: "b-idle", endpoints: one, options: object{"common_http_protocol_options": object{"idle_timeout": "0.8s"}}, run: func(s *stand) {
			s.times(2)
			s.until("upstream_cx_idle_timeout", 1)
			s.ask()
			s.until("upstream_cx_idle_timeout", 2)
		}},
		{name: "b-age", endpoints: one, options: object{"common_http_protocol_options": object{"max_connection_duration": "0.8s"}}, run: func(s *stand) {
			s.times(2)
			s.until("upstream_cx_max_duration_reached", 1)
			time.Sleep(50 * time.Millisecond)
			s.ask()
			s.until("upstream_cx_max_duration_reached", 2)
		}},
		{name: "b-tcp", tcp: true, endpoints: []endpoint{echoes}, cluster: breakers(object{"max_connections": 1}), run: func(s *stand) {
			var wg sync.WaitGroup
			wg.Go(func() { s.ask("hold") })
			s.until("upstream_cx_active", 1)
			s.times(2)
			s.release()
			wg.Wait()
			s.until("upstream_cx_active", 0)
			s.ask()
			s.until("upstream_cx_active", 0)
		}},
	}
}
