// Keys of the queue (by place on the keyboard, so that Hangul input does no harm), and the still:
// fetched while one waits, hidden when the page is left or covered.
"use strict";

(() => {
  const candidate = document.querySelector("[data-candidate]");
  if (!candidate) return;

  const press = (selector) => {
    const button = candidate.querySelector(selector);
    if (button && !button.disabled) button.click();
    return Boolean(button);
  };
  const go = (path) => { if (path) window.location.assign(path); return Boolean(path); };
  const KEYS = {
    Digit1: () => press('[data-view] [value="same"]'),
    Digit2: () => press('[data-view] [value="different"]'),
    Digit3: () => press('[data-view] [value="cannot-tell"]'),
    Numpad1: () => press('[data-view] [value="same"]'),
    Numpad2: () => press('[data-view] [value="different"]'),
    Numpad3: () => press('[data-view] [value="cannot-tell"]'),
    KeyZ: () => press("[data-undo] button"),
    Space: () => press("[data-ask-still] button"),
    KeyJ: () => go(candidate.dataset.after),
    KeyK: () => go(candidate.dataset.before),
  };
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
    if (event.repeat || document.body.dataset.shortcuts === "off" || event.defaultPrevented) return;
    const within = event.target.closest?.("input, textarea, select, [contenteditable], dialog[open]");
    if (within) return;
    if (event.code === "Space" && event.target.closest?.("button, a, summary")) return;
    const act = KEYS[event.code];
    if (act && act()) event.preventDefault();
  });

  const place = document.getElementById("still");
  async function swap(path, options) {
    const answer = await fetch(path, { credentials: "same-origin", ...options });
    if (answer.redirected || !answer.ok) { window.location.assign(window.location.pathname); return; }
    place.innerHTML = await answer.text();
    follow();
  }
  function follow() {
    const polled = place.querySelector("[data-poll]");
    if (polled) window.setTimeout(() => swap(polled.dataset.poll), 700);
    const shown = place.querySelector("[data-still]");
    // The views above depend on the still having been seen: the page is drawn again with it.
    if (shown && candidate.querySelector('[value="same"][disabled]')) window.location.replace(window.location.pathname);
  }
  if (place) follow();

  const hide = (hidden) => {
    for (const still of document.querySelectorAll("[data-still]")) still.classList.toggle("covered", hidden);
  };
  document.addEventListener("visibilitychange", () => hide(document.hidden));
  window.addEventListener("pagehide", () => hide(true));
})();
