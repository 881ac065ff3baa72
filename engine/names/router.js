// Takes a request to a copy at a provider, as a gateway does: awake ones first, then those that must wake, in a fixed
// order. What changes nothing is tried elsewhere when a copy does not answer; anything else is never sent twice.
import sites from "./sites.mjs";

const SAFE = new Set(["GET", "HEAD", "OPTIONS"]);
const NOT_NOW = new Set([502, 503, 504]);
const QUIET_MS = 3000; // a copy that failed is passed over for so long
const NEXT_MS = 10000; // so long may an awake copy think while there is another
const WAKE_MS = 90000; // so long has one to wake
const quietUntil = new Map();

export default {
  async fetch(request) {
    const url = new URL(request.url);
    const mine = sitesOf(url.hostname.toLowerCase().replace(/\.$/, ""));
    if (!clear(mine, url.pathname)) return say(400, "This path can be read in more than one way.\n");
    const site = find(mine, url.pathname);
    if (!site) return say(404, "There is nothing here.\n");
    if (site.closed) return say(403, "This app answers by its gateways only.\n");
    if (site.redirect) {
      return new Response(null, { status: 308, headers: { Location: `https://${site.redirect}${url.pathname}${url.search}` } });
    }
    return passOn(request, url, inOrder(site, Date.now()));
  },
};

async function passOn(request, url, origins) {
  const safe = SAFE.has(request.method) && !request.headers.has("upgrade");
  let last = null;
  for (const [n, origin] of origins.entries()) {
    const more = safe && n + 1 < origins.length;
    try {
      const answer = await ask(request, url, origin, more && !origin.sleeps ? NEXT_MS : WAKE_MS);
      if (!NOT_NOW.has(answer.status)) return answer;
      last = answer;
    } catch {
      last = null;
    }
    quietUntil.set(origin.at, Date.now() + QUIET_MS);
    if (!safe) break;
  }
  if (last) return last;
  if (!origins.length) return say(503, "This app has no running copy at the moment. Please try again soon.\n", { "Retry-After": "10" });
  return say(502, "No copy of this app answers at the moment.\n");
}

function ask(request, url, origin, ms) {
  const there = new URL(url.pathname + url.search, `https://${origin.at}`);
  const headers = new Headers(request.headers);
  for (const name of [...headers.keys()]) if (/^(x-forwarded-|forwarded$|x-real-ip$|a67-)/i.test(name)) headers.delete(name);
  headers.set("X-Forwarded-Host", url.host);
  headers.set("X-Forwarded-Proto", url.protocol.slice(0, -1));
  const client = request.headers.get("cf-connecting-ip");
  if (client) headers.set("X-Forwarded-For", client);
  const sent = new Request(there, { method: request.method, headers, body: request.body, redirect: "manual" });
  // Only until the answer begins: what streams may stream for as long as it likes.
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), ms);
  return fetch(sent, { signal: late.signal }).finally(() => clearTimeout(timer));
}

function inOrder(site, now) {
  const from = site.awake.length ? Math.floor(Math.random() * site.awake.length) : 0;
  const awake = [...site.awake.slice(from), ...site.awake.slice(0, from)].map((at) => ({ at, sleeps: false }));
  const all = [...awake, ...site.asleep.map((at) => ({ at, sleeps: true }))];
  const quiet = (o) => (quietUntil.get(o.at) ?? 0) > now;
  return [...all.filter((o) => !quiet(o)), ...all.filter(quiet)];
}

function sitesOf(host) {
  const exact = sites.filter((s) => s.host === host);
  const dot = host.indexOf(".");
  return exact.length || dot < 1 ? exact : sites.filter((s) => s.host === `*${host.slice(dot)}`);
}

function find(mine, path) {
  return mine.find((s) => below(path, s.path));
}

function below(path, prefix) {
  return !prefix || path === prefix || path.startsWith(`${prefix}/`);
}

// Where a name has several paths nobody may get around the rules of one because we and the app read a path differently.
function clear(mine, path) {
  if (!mine.some((s) => s.path)) return true;
  const lenient = leniently(path);
  if (lenient === null) return false;
  const folded = (s) => leniently(s.path) || s.path;
  const found = find(mine, path);
  const others = mine.map(folded).filter((p) => below(lenient, p)).sort((a, b) => b.length - a.length);
  return others[0] === (found ? folded(found) : undefined);
}

function leniently(path) {
  let passes = 0;
  for (let before; before !== path; passes++) {
    if (passes === 3) return null;
    before = path;
    path = path.replace(/%([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(parseInt(hex, 16)));
  }
  const segments = path.toLowerCase().split(/[/\\]+/).map((s) => s.split(/[;?#]/)[0]);
  if (segments.some((s) => [".", ".."].includes(s.trim())) || /[\x00-\x1f]/.test(path)) return null;
  return segments.filter(Boolean).map((s) => `/${s}`).join("");
}

function say(status, text, headers = {}) {
  return new Response(text, { status, headers: { "Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store", ...headers } });
}
