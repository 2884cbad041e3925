// Package match holds string, header and query matchers, compiled once to the
// cheapest form that gives the same answer.
//
// Configuration calls a New function, which checks the pattern and picks the
// form; the data path calls Match on the value, which neither allocates nor
// fails. The rules are those of Envoy's string, header and query parameter
// matchers. It is a leaf over the message model and knows no configuration
// format.
package match
