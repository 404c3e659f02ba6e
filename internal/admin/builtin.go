package admin

import "github.com/writ-auth/writ/internal/oauth"

// CLI is the id of the client that operators sign in with on the command line.
// It is built in: the one public client with the mark.
const CLI = "writ-cli"

// cli is the built-in client. Its tokens are bound to a key; its redirects go to
// a loopback address, so people are always asked for consent.
func (a *Admin) cli() Client {
	return Client{
		ID: CLI, Name: "Writ command line", AuthMethod: oauth.AuthNone, Application: "native",
		RedirectURIs: []string{"http://127.0.0.1/callback"}, Scope: adminScopes.String(),
		Resources: []string{a.cfg.Issuer + "/admin"}, Admin: true, BoundTokens: true,
	}.complete()
}

// checkCLI lets an operator switch the built-in client off and on, nothing else.
func (a *Admin) checkCLI(c Client) error {
	want := a.cli()
	want.Disabled, want.Created = c.Disabled, c.Created
	if !same(c, want) {
		return wrong("", "%s is built in: it can be disabled and enabled, nothing else", CLI)
	}
	return nil
}
