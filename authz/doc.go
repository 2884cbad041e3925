// Package authz decides who may do what: Envoy's role-based access control, in
// which istiod spells AuthorizationPolicies.
//
// A Set is an action and its policies in the order of their names. Configuration
// builds one out of Clauses, which New functions check and simplify; the data path
// fills Facts, on its stack, and asks Check, which neither blocks, allocates nor
// fails. A Decision names the policy that decided. What a clause asks of facts that
// are missing (headers of a TCP connection, the identity of a peer in plain text) is
// answered with no, as in Envoy; under a Not that is a yes.
//
// It is pure: it opens nothing, knows no configuration format and no listener, and
// must not learn what is done with a Decision.
package authz
