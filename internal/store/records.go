package store

import "time"

// Client is a registered client (RFC 7591 names where they exist).
type Client struct {
	ID           string
	Name         string
	SecretHash   []byte   // SHA-256 of the secret; nil for a public client
	AuthMethod   string   // none, or client_secret_basic (which admits client_secret_post)
	Application  string   // web or native (OIDC registration)
	GrantTypes   []string // grant names it may use
	RedirectURIs []string
	Scope        []string // the most it may ever be given
	Resources    []string // resources it may ask tokens for
	Guards       []string // resources it guards: it may introspect and exchange their tokens and follow the feed
	FirstParty   bool     // an operator vouches for it: no consent page where the redirect is https
	Admin        bool     // marked: may be given the admin scopes
	BoundTokens  bool     // dpop_bound_access_tokens: no token without a proof
	TrustDomain  string   // a gateway in front of it: may register keys that mint transaction tokens there; "": none
	Disabled     bool
	Created      time.Time
}

// Resource is an API that tokens are issued for (RFC 8707); its URI becomes aud.
type Resource struct {
	URI       string
	Name      string
	Scopes    []ScopeText
	TokenLife time.Duration // 0: the issuer's default
	Algorithm string        // "": the issuer's default
	Created   time.Time
}

// ScopeText is a scope and what the consent page says of it.
type ScopeText struct{ Name, Text string }

// User is a person. ID is random and becomes sub; it is never the user name.
type User struct {
	ID           string
	Username     string // unique, compared as stored
	Name         string
	Email        string
	PasswordHash string // PHC string; "" means no password sign-in
	Admin        bool   // may be given the admin scopes
	Disabled     bool
	Created      time.Time
}

// Session is a browser signed in as one user.
type Session struct {
	ID         string // becomes sid
	SecretHash []byte // SHA-256 of the cookie's value
	UserID     string
	ACR        string
	AMR        []string
	AuthTime   time.Time
	Created    time.Time
	Seen       time.Time
	Expires    time.Time
	Address    string
	UserAgent  string
}

// Flow is an authorization request under way, bound to the browser that began it.
type Flow struct {
	ID             string // random; worth nothing without the browser's cookie
	BrowserHash    []byte // SHA-256 of that cookie
	Request        []byte // the parsed request, opaque here
	Consent        string // "", allowed or denied
	ConsentSession string // the session that answered
	Created        time.Time
	Expires        time.Time
}

// Grant is what a subject allowed a client. Every code-flow token descends from one.
type Grant struct {
	ID        string
	UserID    string
	ClientID  string
	SessionID string // set when the grant ends with the browser session
	Scope     []string
	Resources []string
	ACR       string
	AMR       []string
	KeyID     string // JWK thumbprint its refresh tokens are bound to (RFC 9449 §5); "" when unbound
	AuthTime  time.Time
	Created   time.Time
	Used      time.Time
	Expires   time.Time
	Ended     time.Time // zero while it lives
	EndReason string
}

// Code is an authorization code, single use.
type Code struct {
	Hash        []byte
	ClientID    string
	UserID      string
	SessionID   string
	RedirectURI string
	Challenge   string // PKCE S256
	Scope       []string
	Resources   []string
	Nonce       string
	ACR         string
	AMR         []string
	KeyID       string // dpop_jkt
	AuthTime    time.Time
	Expires     time.Time
	Used        time.Time // zero until redeemed
	GrantID     string    // the grant it opened, once redeemed
}

// Refresh is a refresh token, known by its hash.
type Refresh struct {
	Hash          []byte
	GrantID       string
	ClientID      string
	Created       time.Time
	Expires       time.Time
	Spent         time.Time // zero while it is the newest of its grant
	SuccessorHash []byte    // set when spent
	Successor     []byte    // sealed under a key derived from the presented token
}

// Key is a secret of the issuer, sealed.
type Key struct {
	ID        string
	Use       string // sign, feed, tag or mac
	Algorithm string
	Public    []byte // JWK; nil for symmetric keys
	Sealed    []byte
	Created   time.Time
	Active    time.Time // used from here on
	Retired   time.Time // zero while in use or waiting
	Expires   time.Time // zero until retired; removed from the key set then
	Latest    time.Time // no token it signed lives longer; known to the minute
	Ended     time.Time // ended before its time, with all it signed; zero else
	Foreign   time.Time // since when it is known to be in foreign hands; zero else
}

// InnerKey is a public key of a client, by which it mints transaction tokens.
type InnerKey struct {
	ClientID string
	ID       string // RFC 7638 thumbprint
	Public   []byte // JWK
	Created  time.Time
	Expires  time.Time
}

// Entry is one position of the feed table: a rule, or word that something changed.
type Entry struct {
	Position uint64 // set by the store
	Prev     uint64 // the position kept before it, 0: none; set by Tx.Feed
	Kind     string // what a rule is about, as package feed spells it; config and key carry no rule
	Value    string
	Effect   string // end or step-up
	Reason   string
	At       time.Time
	Before   time.Time // of a rule about a time, zero else
	Until    time.Time // when no token it hits can be alive; zero for config and key
	Sweep    bool      // it also ends what it names in the store, however much that is
}

// Audit is one line of what was done by whom.
type Audit struct {
	At      time.Time
	Actor   string // sub or client_id, "system" for the server itself
	Action  string // noun.verb, e.g. grant.end
	Target  string
	Detail  string // JSON object or ""
	Address string
}

// Attempt is the state of one rate limit; package login owns the arithmetic.
type Attempt struct {
	Key   string
	Level int64
	At    time.Time
}

// GuardState is what one connection of a guard last said it holds.
type GuardState struct {
	ClientID string
	Instance string
	Epoch    string
	Position uint64
	KeyIDs   []string
	Seen     time.Time
}

// Invite is a single-use link that makes its bearer the owner of an account.
type Invite struct {
	Hash    []byte
	Role    string
	Created time.Time
	Expires time.Time
	Used    time.Time
}
