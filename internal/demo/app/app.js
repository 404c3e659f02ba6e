// The page: buttons in, words out. What it says to the servers is in oauth.js.
import { Client, call, decode } from "./oauth.js";

const $ = (id) => document.getElementById(id);
const { issuer, gateway, app: origin, resource, client: clientID, scope } = document.documentElement.dataset;
const client = new Client({ issuer, resource, scope, client: clientID, callback: `${origin}/callback` });

// Actions, one at a time. Each returns or throws what there is to show.
let busy = false;

async function run(action) {
  if (busy) return;
  busy = true;
  $("problem").hidden = true;
  $("result").ariaBusy = "true";
  $("last-status").textContent = ""; // so that nobody takes the old answer for the new one
  let answer, failure;
  try {
    answer = await action();
  } catch (thrown) {
    failure = thrown;
    answer = thrown.call;
  }
  busy = false;
  $("result").ariaBusy = "false";
  draw();
  show(answer, failure);
}

const actions = {
  "get-orders": () => orders("GET"),
  "post-order": () => orders("POST", { item: "lamp", count: 1 }),
  refresh: () => client.renew(),
  revoke: () => client.revoke(),
};
for (const [id, action] of Object.entries(actions)) {
  $(id).addEventListener("click", () => {
    if ($(id).ariaDisabled !== "true") run(action);
  });
}

// orders calls the API, without a token when there is none: the refusal is worth seeing.
async function orders(method, order) {
  const token = await client.bearer();
  return call(method, `${gateway}/orders`, {
    headers: { ...(token && { Authorization: `Bearer ${token}` }), ...(order && { "Content-Type": "application/json" }) },
    body: order && JSON.stringify(order),
  });
}

$("sign-in").addEventListener("click", () => client.signIn().catch(complain));
$("sign-out").addEventListener("click", () => { // the link itself goes on to the issuer's page
  client.leave();
  draw();
  show();
});

// What is shown.

function draw() {
  const { tokens, signedIn } = client;
  $("status").textContent = signedIn ? `Signed in as ${tokens.user.name}` : "Signed out";
  $("lead").textContent = signedIn
    ? `Your name came from ${host(issuer)}. The orders API at ${host(gateway)} knows you by your token alone.`
    : tokens
      ? "You gave up access. The old token is still here so that you can see it refused: press “Get orders”."
      : `Sign in at ${host(issuer)}, then call the orders API at ${host(gateway)} with what you got.`;
  $("sign-in").hidden = signedIn;
  $("sign-out").hidden = $("account").hidden = !signedIn;
  $("refresh").ariaDisabled = $("revoke").ariaDisabled = String(!signedIn);
  for (const id of ["get-orders", "post-order"]) $(id).classList.toggle("quiet", !tokens); // signing in comes first
  $("how").hidden = Boolean(tokens);
  $("token").hidden = !tokens;
  if (tokens && $("access-token").textContent !== tokens.access) {
    $("access-token").textContent = tokens.access;
    $("claims").replaceChildren(...claims(decode(tokens.access)));
  }
  tick();
}

// show puts an answer into #result; without one, what went wrong instead.
function show(answer, failure) {
  const nothing = !answer && !failure;
  $("nothing").hidden = !nothing;
  $("answer").hidden = nothing;
  $("last-status").textContent = answer?.status ?? "";
  $("last-status").parentElement.className = answer?.ok ? "good" : "bad";
  $("last-reason").textContent = answer ? answer.reason : "No answer";
  $("last-request").textContent = answer ? `${answer.method} ${answer.url}` : "";
  $("last-time").textContent = answer ? `${Math.round(answer.ms)} ms` : "";
  const words = failure ? say(failure.code, failure.description) : answer && explain(answer);
  $("explain").textContent = words ?? "";
  $("explain").hidden = !words;
  $("explain").className = answer?.ok ? "notice" : "error";
  $("last-challenge").textContent = answer?.challenge ?? "";
  $("challenge").hidden = !answer?.challenge;
  const chain = answer?.body?.chain;
  $("calls").hidden = !Array.isArray(chain);
  if (Array.isArray(chain)) drawChain(chain);
  $("last-body").textContent = answer ? pretty(answer.body) : "";
  $("content").hidden = !answer?.body;
}

// complain is for what goes wrong around signing in, which has no answer to show.
function complain(failure) {
  $("problem").textContent = say(failure.code ?? "error", failure.description ?? failure.message);
  $("problem").hidden = false;
}

const sentences = {
  access_denied: "You didn’t allow it.",
  insufficient_scope: "The token does not allow this.",
  insufficient_user_authentication: "The API wants you to sign in again first.",
  invalid_grant: "That is not valid any more. Sign in again.",
  invalid_scope: "The app asked for something that is not there.",
  invalid_token: "The token is not accepted any more. Refresh it, or sign in again.",
  iss: "The answer is not from the server that was asked, so it was not used.",
  state: "The answer does not fit, so it was not used. Sign in again.",
  temporarily_unavailable: "Please try again in a moment.",
  unreachable: "Is writ dev still running?",
};

const say = (code, description) =>
  `${sentences[code] ?? "That did not work."} (${description ? `${code}: ${description}` : code})`;

// explain says in words what an answer means; nothing where it speaks for itself.
function explain({ method, url, ok, status, challenge, body }) {
  if (ok) {
    if (url.endsWith("/revoke")) return "All that you allowed this app has ended, everywhere.";
    if (url.endsWith("/token")) return "A new access token. The refresh token was replaced, too.";
    return method === "POST" ? "Your order is placed." : null;
  }
  const found = Object.fromEntries([...challenge.matchAll(/([a-z_]+)="((?:[^"\\]|\\.)*)"/g)].map(([, k, v]) => [k, v]));
  if (status === 401 && !client.tokens) return "No token, no orders: the gateway says where to get one. Sign in first.";
  if (status === 401 && client.tokens?.ended) return `Refused, as it should be: you gave this token up. (${found.error})`;
  if (found.error) return say(found.error, found.error_description);
  return say(body?.error ?? body?.code ?? `status ${status}`, body?.error_description ?? body?.detail ?? body?.title);
}

// pretty is the body as text. Tokens are shown where they belong, not here.
function pretty(body) {
  if (typeof body === "string") return body;
  const secret = (key, value) =>
    typeof value === "string" && /^(access|refresh|id)_token$/.test(key) ? `${value.slice(0, 12)}… (${value.length} characters)` : value;
  return JSON.stringify(body, secret, 2);
}

// drawChain draws who called whom, and as whom: this page first.
function drawChain(chain) {
  const { tokens } = client;
  const own = decode(tokens?.access ?? "")?.payload ?? {};
  const hops = [{ at: "This app", sub: own.sub, aud: own.aud, scope: own.scope, through: [] }, ...chain];
  const same = chain.every((hop) => hop.sub === own.sub);
  $("same").textContent = same ? "You all the way: your token ends at the gateway, and one of its making goes on." : "Not the same person at every step.";
  $("chain").replaceChildren(...hops.map((hop) =>
    make("li", {}, make("h4", {}, hop.at),
      make("p", {}, "for ", make("b", { title: hop.sub ?? "" }, hop.sub === own.sub ? tokens.user.name : hop.sub),
        ...(hop.through ?? []).flatMap((name, i) => [i ? " → " : ", called through ", make("code", {}, name)])),
      make("dl", {}, ...fact("token for", hop.aud), ...fact("transaction", hop.txn), ...fact("client", hop.client_id ?? own.client_id), ...fact("scope", hop.scope)))));
}

const fact = (name, value) => (value ? [make("div", {}, make("dt", {}, name), make("dd", {}, make("code", {}, value)))] : []);

const meanings = {
  iss: "who made it", sub: "whom it speaks for", aud: "the only API that takes it", client_id: "the app it was made for",
  iat: "made", exp: "ends", nbf: "good from", auth_time: "you signed in", jti: "its own number, to end just this one",
  scope: "what it allows", grant_id: "what you allowed this app; ending that ends it", sid: "your sign-in; it ends with that",
  rev: "how far revocations had got when it was made", acr: "how surely it was you", cnf: "the key it is bound to",
  act: "who acts for you", via: "the tokens it comes from",
};
const times = new Set(["iat", "exp", "nbf", "auth_time"]);

// claims makes a row of each claim of the token, and one of its header.
function claims(token) {
  if (!token) return [];
  const row = (name, value, words) =>
    make("div", {}, make("dt", {}, make("code", {}, name)), make("dd", {}, value, words ? make("small", {}, words) : ""));
  const clock = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  const { alg, typ, kid } = token.header;
  return [
    ...Object.entries(token.payload).map(([name, value]) => times.has(name)
      ? row(name, make("time", { dateTime: new Date(value * 1000).toISOString() }, clock.format(value * 1000)), `${meanings[name]} · ${value}`)
      : row(name, typeof value === "string" ? value : JSON.stringify(value), meanings[name])),
    row("header", `${typ}, signed with ${alg}`, `by key ${kid}`),
  ];
}

// tick keeps the countdown.
function tick() {
  const { tokens } = client;
  if (!tokens) return;
  const left = Math.max(0, Math.round((tokens.expires - Date.now()) / 1000));
  const over = tokens.ended || left === 0;
  const { iat, exp } = decode(tokens.access)?.payload ?? {};
  $("ends").textContent = tokens.ended ? "You gave it up. It would run out" : left ? "It runs out" : "It has";
  $("access-token-expires").textContent = left ? `in ${span(left)}` : "run out; the next call gets a new one";
  $("access-token-expires").dateTime = new Date(tokens.expires).toISOString();
  $("life").value = over ? 0 : left / (exp - iat || left);
}

function span(seconds) {
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return h ? `${h} h ${m} min` : m ? `${m} min ${s} s` : `${s} s`;
}

const host = (url) => new URL(url).host;

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.map((child) => child ?? "–"));
  return element;
}

// Begin: take the answer of a sign-in out of the address, where it would stay in
// the history, then use it.
client.onchange = draw;
setInterval(tick, 1000);
const answer = new URLSearchParams(location.search);
if (location.pathname === "/callback") {
  history.replaceState(null, "", "/");
  $("status").textContent = "Signing in…";
  $("sign-in").hidden = $("how").hidden = busy = true;
  client.finish(answer).catch(complain).finally(() => {
    busy = false;
    draw();
  });
} else {
  draw();
}
$("page").hidden = false; // only now does everything in it work
