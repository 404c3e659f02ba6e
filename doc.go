// Package writ is the root of Writ: the access token pattern, whole. An
// authorization server issues short-lived signed tokens, resource servers
// verify them locally, services pass the caller's identity on to one another,
// and a token that must die is refused everywhere within a second.
//
// The package itself holds nothing. Start at the one you need:
//
//   - guard verifies access tokens in a resource server, for net/http.
//   - grpcguard does the same for gRPC servers.
//   - relay carries the caller's identity on to the next service.
//   - token is the claims that guard hands to a handler; scope is their scope.
//   - guardtest is a signing issuer for the tests of a service that uses guard.
//   - cmd/writ is the program: the authorization server, the gateway and the
//     command line. `writ dev` runs all of it on one machine.
//
// What each package owns and may import is written down in doc/design.md and
// enforced by layers_test.go.
package writ
