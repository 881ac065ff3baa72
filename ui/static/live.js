"use strict";
/* Keeps an open page current: asks for its fragment, replaces the parts whose version changed, counts the times up,
   and says when the server does not answer. Without this script the page is complete, only still. */
(() => {
  const EVERY = 1000;
  const SLOWEST = 5000;
  const GIVE_UP = 5000;
  const live = document.getElementById("live");
  const state = document.getElementById("live-state");
  const stateText = document.getElementById("live-text");
  const toast = document.getElementById("toast");
  const toastText = document.getElementById("toast-text");
  let etag = "";
  let failures = 0;
  let lastGood = new Date();
  let timer = 0;

  const span = (seconds) => {
    for (const [length, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
      if (seconds >= length) return `${Math.floor(seconds / length)} ${unit}`;
    }
    return `${Math.floor(seconds)} s`;
  };

  const ago = (at) => {
    const past = (Date.now() - at) / 1000;
    if (past < 0) return past > -5 ? "just now" : `in ${span(-past)}`;
    return past < 5 ? "just now" : `${span(past)} ago`;
  };

  const count = () => {
    for (const time of document.querySelectorAll("time[data-ago]")) {
      const text = ago(Date.parse(time.dateTime));
      if (time.textContent !== text) time.textContent = text;
    }
  };

  const show = (connected) => {
    state.classList.toggle("on", connected);
    state.classList.toggle("off", !connected);
    stateText.textContent = connected ? "live" : "not connected";
    toast.hidden = connected;
    if (!connected) {
      toastText.textContent = `The connection is lost. This is how things were at ${lastGood.toLocaleTimeString()}; trying again.`;
    }
  };

  /* Where the keyboard was before a part is replaced, so that it can go back there. */
  const focusIn = (part) => {
    const active = document.activeElement;
    if (!active || !part.contains(active) || !active.getAttribute("href")) return null;
    const same = [...part.querySelectorAll("a[href]")].filter((a) => a.getAttribute("href") === active.getAttribute("href"));
    return { href: active.getAttribute("href"), nth: same.indexOf(active) };
  };

  const refocus = (part, where) => {
    const same = [...part.querySelectorAll("a[href]")].filter((a) => a.getAttribute("href") === where.href);
    const target = same[where.nth] || same[0];
    if (target) target.focus({ preventScroll: true });
  };

  const take = (html) => {
    const fresh = new DOMParser().parseFromString(html, "text/html");
    for (const part of fresh.querySelectorAll(".part")) {
      const old = document.getElementById(part.id);
      if (!old || old.dataset.version === part.dataset.version) continue;
      const where = focusIn(old);
      const added = document.importNode(part, true);
      added.classList.add("changed");
      old.replaceWith(added);
      if (where) refocus(added, where);
    }
  };

  const look = async () => {
    try {
      const headers = etag ? { "If-None-Match": etag } : {};
      const response = await fetch(live.dataset.from, { headers, cache: "no-store", signal: AbortSignal.timeout(GIVE_UP) });
      if (response.status === 200) {
        etag = response.headers.get("ETag") || "";
        take(await response.text());
      } else if (response.status !== 304) {
        throw new Error(String(response.status));
      }
      failures = 0;
      lastGood = new Date();
      show(true);
    } catch {
      failures += 1;
      /* One missed answer is no news; two are. */
      if (failures >= 2) show(false);
    }
    count();
  };

  const loop = async () => {
    clearTimeout(timer);
    if (!document.hidden) await look();
    clearTimeout(timer);
    timer = setTimeout(loop, Math.min(EVERY * Math.max(1, failures), SLOWEST));
  };

  if (live) {
    document.addEventListener("visibilitychange", () => { if (!document.hidden) loop(); });
    loop();
  } else if (document.querySelector(".lone .snippet")) {
    /* The engine was not there yet: look again until it is. */
    setInterval(async () => {
      const answer = await fetch(location.href, { method: "HEAD", cache: "no-store" }).catch(() => null);
      if (answer && answer.ok) location.reload();
    }, 2000);
  }
})();
