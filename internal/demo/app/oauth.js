// A public OAuth client for one page: authorization code with PKCE, refresh
// tokens that rotate, revocation. It draws nothing.
//
// Tokens are in memory, and in sessionStorage so that a reload signs nobody out.
// Script that gets into this page can take them from either place, and no trick
// of a page prevents that. The content security policy keeps such script out as
// well as a browser can. Where it matters, a small server of the app's own
// should hold the tokens and give the browser a cookie instead (backend for
// frontend, RFC 10017); here every step is in the page so that it can be seen.

// Failure is a refusal by one of the servers, or by this page of a server's
// answer. code and description are OAuth's where there are any.
export class Failure extends Error {
  constructor(code, description, call) {
    super(description || code);
    this.code = code;
    this.description = description;
    this.call = call; // the request that was refused, if there was one
  }
}

// call sends a request and tells all there is to show of the answer.
export async function call(method, url, { headers, body } = {}) {
  const start = performance.now();
  try {
    const response = await fetch(url, {
      method, headers, body,
      cache: "no-store", credentials: "omit", redirect: "error", referrerPolicy: "no-referrer",
      signal: AbortSignal.timeout(15_000),
    });
    const text = await response.text();
    return {
      method, url, ms: performance.now() - start,
      status: response.status, reason: response.statusText, ok: response.ok,
      challenge: response.headers.get("WWW-Authenticate") ?? "",
      body: parse(text) ?? text,
    };
  } catch (cause) {
    const late = cause.name === "TimeoutError";
    throw new Failure("unreachable", `${new URL(url).origin} ${late ? "took too long" : "did not answer"}`);
  }
}

export class Client {
  tokens = null; // {access, expires, refresh, user: {sub, name}, ended}; expires in ms
  onchange = () => {}; // another tab changed tokens

  #config;
  #channel = new BroadcastChannel("demo-app tokens");

  constructor(config) { // {issuer, client, resource, scope, callback}
    this.#config = config;
    this.tokens = parse(sessionStorage.getItem("tokens"));
    this.#channel.onmessage = ({ data }) => {
      if (this.tokens?.refresh && this.tokens.refresh === data.spent) {
        this.#keep(data.tokens);
        this.onchange();
      }
    };
  }

  get signedIn() { return this.tokens !== null && !this.tokens.ended; }

  // signIn leaves for the authorization server.
  async signIn() {
    const flow = { state: random(16), nonce: random(16), verifier: random(32) };
    sessionStorage.setItem("flow", JSON.stringify(flow));
    const { issuer, client, resource, scope, callback } = this.#config;
    const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(flow.verifier));
    location.assign(`${issuer}/authorize?` + new URLSearchParams({
      response_type: "code", client_id: client, redirect_uri: callback, scope, resource,
      state: flow.state, nonce: flow.nonce,
      code_challenge: base64url(new Uint8Array(hash)), code_challenge_method: "S256", // RFC 7636 §4.3
    }));
  }

  // finish takes the answer that came back in the address.
  async finish(answer) {
    const flow = parse(sessionStorage.getItem("flow"));
    sessionStorage.removeItem("flow"); // one sign-in, one answer
    if (!flow || answer.get("state") !== flow.state) {
      throw new Failure("state", "this answer belongs to no sign-in that was begun in this tab");
    }
    const { issuer, callback, resource } = this.#config;
    if (answer.get("iss") !== issuer) { // RFC 9207 §2.4: also before an error is believed
      throw new Failure("iss", `the answer came from ${answer.get("iss") ?? "nobody"}, not from ${issuer}`);
    }
    if (answer.has("error")) throw new Failure(answer.get("error"), answer.get("error_description"));
    const got = await this.#token({
      grant_type: "authorization_code", code: answer.get("code"), redirect_uri: callback,
      code_verifier: flow.verifier, resource,
    });
    const { sub } = this.#person(got.id_token, flow.nonce);
    this.#keep({ ...kept(got), user: { sub, name: sub } });
    await this.#name();
  }

  // renew gets a new access token, if it is still wanted when no other tab is at it.
  async renew(wanted = () => true) {
    let answer;
    await this.#rotate(this.#config.resource, wanted, (got) => {
      answer = got.call;
      return { access: got.access_token, expires: got.expires };
    });
    return answer;
  }

  // bearer is the access token for the next request, renewed if it has expired;
  // "" without one.
  async bearer() {
    const expired = () => this.tokens.expires < Date.now() + 2_000;
    if (this.signedIn && expired()) await this.renew(expired);
    return this.tokens?.access ?? "";
  }

  // revoke gives up the refresh token and with it all that was allowed (RFC 7009).
  // The access token stays in memory, to show that it is refused from now on.
  revoke() {
    return this.#alone(async () => {
      const { refresh } = this.tokens;
      const answer = await this.#post("/revoke", { token: refresh, token_type_hint: "refresh_token" });
      if (!answer.ok) throw refusal(answer);
      this.#keep({ ...this.tokens, refresh: "", ended: true }, refresh);
      return answer;
    });
  }

  // leave gives up what is left without waiting: the page is about to go.
  leave() {
    const refresh = this.tokens?.refresh;
    this.#keep(null, refresh);
    if (refresh) {
      const { issuer, client } = this.#config;
      const body = new URLSearchParams({ client_id: client, token: refresh, token_type_hint: "refresh_token" });
      fetch(`${issuer}/revoke`, { method: "POST", body, keepalive: true, credentials: "omit" }).catch(() => {});
    }
  }

  // name asks who the person is. An access token is for one resource, so there
  // is another one for that, and it is used once.
  async #name() {
    const { issuer } = this.#config;
    let access = "";
    await this.#rotate(`${issuer}/userinfo`, () => true, (got) => { access = got.access_token; });
    const answer = await call("GET", `${issuer}/userinfo`, { headers: { Authorization: `Bearer ${access}` } });
    const { sub, name, preferred_username } = answer.body;
    if (!answer.ok) throw refusal(answer);
    if (sub !== this.tokens.user.sub) { // OIDC Core §5.3.2
      throw new Failure("userinfo", "userinfo speaks of another person than the ID token");
    }
    this.#keep({ ...this.tokens, user: { sub, name: name || preferred_username || sub } });
  }

  // person checks the ID token. It came straight from the token endpoint, so its
  // signature says nothing more (OIDC Core §3.1.3.7, 6).
  #person(compact, nonce) {
    const claims = decode(compact ?? "")?.payload;
    const { issuer, client } = this.#config;
    if (claims?.iss !== issuer || claims.aud !== client || claims.nonce !== nonce || claims.exp * 1000 < Date.now()) {
      throw new Failure("id_token", "the ID token is not the one this sign-in asked for");
    }
    return claims;
  }

  // rotate presents the refresh token and keeps its successor with what use
  // returns. A tab that was duplicated holds the same token, and a spent one that
  // is presented late ends everything. So one rotation at a time, in all tabs, and
  // each tells the others; when that comes late, the server's replay window helps.
  #rotate(resource, wanted, use) {
    return this.#alone(async () => {
      if (!wanted()) return;
      const { refresh } = this.tokens;
      try {
        const got = await this.#token({ grant_type: "refresh_token", refresh_token: refresh, resource });
        this.#keep({ ...this.tokens, refresh: got.refresh_token ?? refresh, ...use(got) }, refresh);
      } catch (failure) {
        if (failure.code === "invalid_grant") this.#keep(null, refresh);
        throw failure;
      }
    });
  }

  // alone runs work when no tab uses the refresh token, if there is one.
  #alone(work) {
    return navigator.locks.request("demo-app refresh", () => {
      if (!this.tokens?.refresh) throw new Failure("invalid_grant", "there is no refresh token");
      return work();
    });
  }

  async #token(parameters) {
    const answer = await this.#post("/token", parameters);
    if (!answer.ok) throw refusal(answer);
    const got = answer.body;
    if (got.token_type?.toLowerCase() !== "bearer" || !got.access_token) { // RFC 6749 §7.1
      throw new Failure("token_type", `a token of type ${got.token_type} is of no use here`, answer);
    }
    return { ...got, expires: Date.now() + got.expires_in * 1000, call: answer };
  }

  #post(path, parameters) {
    const { issuer, client } = this.#config;
    return call("POST", issuer + path, { body: new URLSearchParams({ client_id: client, ...parameters }) });
  }

  // keep remembers tokens. spent is the refresh token they replace, "" or undefined
  // when that concerns no other tab.
  #keep(tokens, spent) {
    this.tokens = tokens;
    if (this.signedIn) sessionStorage.setItem("tokens", JSON.stringify(tokens));
    else sessionStorage.removeItem("tokens");
    if (spent) this.#channel.postMessage({ spent, tokens });
  }
}

const kept = (got) => ({ access: got.access_token, expires: got.expires, refresh: got.refresh_token ?? "", ended: false });

const refusal = (answer) =>
  new Failure(answer.body?.error ?? `status ${answer.status}`, answer.body?.error_description ?? "", answer);

// decode reads a JWT without believing it; null if it is none.
export function decode(compact) {
  const [header, payload] = compact.split(".").map((part) => {
    try {
      const bytes = Uint8Array.from(atob(part.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
      return parse(new TextDecoder().decode(bytes));
    } catch {
      return null;
    }
  });
  return header && payload ? { header, payload } : null;
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

const random = (bytes) => base64url(crypto.getRandomValues(new Uint8Array(bytes)));

const base64url = (bytes) =>
  btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
