// The desk's own script: form tokens for htmx, passkeys, the stream of what is new, idling, errors' focus.
"use strict";
(() => {
  const token = () => document.querySelector('meta[name="desk-token"]')?.content ?? "";
  const post = (path) => fetch(path, { method: "POST", headers: { "x-desk-token": token() } });

  // htmx requests carry this session's token, whatever form they come from.
  document.addEventListener("htmx:config:request", (event) => {
    event.detail.ctx.request.headers["X-Desk-Token"] = token();
  });

  const errors = document.getElementById("errors");
  if (errors) errors.focus();

  // ---------------------------------------------------------------- passkeys
  const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  const text = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  for (const place of document.querySelectorAll("[data-passkey]")) {
    const challenges = place.dataset.challenges.split(" ");
    const signed = []; // kept when a touch is missed: the next press goes on from there
    const button = place.querySelector("[data-use-passkey]");
    const wrong = place.querySelector("[data-passkey-wrong]");
    const soFar = place.querySelector("[data-passkey-so-far]");
    const ask = async (challenge) => {
      const answer = await navigator.credentials.get({
        publicKey: {
          challenge: bytes(challenge),
          rpId: place.dataset.rp,
          userVerification: "required",
          timeout: 120000,
        },
      });
      return {
        authenticatorData: text(answer.response.authenticatorData),
        clientDataJSON: text(answer.response.clientDataJSON),
        signature: text(answer.response.signature),
      };
    };
    button.addEventListener("click", async () => {
      wrong.hidden = true;
      button.disabled = true;
      try {
        while (signed.length < challenges.length) {
          signed.push(await ask(challenges[signed.length]));
          if (challenges.length > 1) {
            soFar.textContent = place.dataset.soFar.replace("{at}", signed.length).replace("{all}", challenges.length);
            soFar.hidden = false;
          }
        }
        place.querySelector('[name="assertion"]').value = JSON.stringify(signed);
        place.closest("form").submit();
      } catch {
        button.disabled = false;
        wrong.textContent = place.dataset.failed;
        wrong.hidden = false;
      }
    });
  }

  // ---------------------------------------------------------------- what is new
  const say = (words) => {
    const place = document.getElementById("polite");
    if (place) place.textContent = words;
  };
  // Two soft tones, made here; in one tab of several, and only after the officer has touched a page.
  let audio = null;
  const chime = () => {
    if (document.body.dataset.sound !== "on" || !navigator.locks) return;
    navigator.locks.request("desk-chime", { ifAvailable: true }, async (lock) => {
      if (!lock) return;
      audio ??= new AudioContext();
      if (audio.state === "suspended") await Promise.race([audio.resume(), new Promise((r) => setTimeout(r, 300))]);
      if (audio.state !== "running") return;
      [659, 880].forEach((pitch, at) => {
        const tone = audio.createOscillator();
        const loud = audio.createGain();
        const begins = audio.currentTime + at * 0.18;
        tone.frequency.value = pitch;
        loud.gain.setValueAtTime(0, begins);
        loud.gain.linearRampToValueAtTime(0.12, begins + 0.02);
        loud.gain.exponentialRampToValueAtTime(0.001, begins + 0.4);
        tone.connect(loud).connect(audio.destination);
        tone.start(begins);
        tone.stop(begins + 0.45);
      });
      document.documentElement.dataset.chimed = String(Number(document.documentElement.dataset.chimed ?? 0) + 1);
      await new Promise((r) => setTimeout(r, 1500));
    });
  };
  const heard = {};
  const news = (topics, known) => {
    let found = 0;
    for (const [topic, count] of Object.entries(topics)) {
      if (topic.startsWith("candidates:")) found += Math.max(0, count - (heard[topic] ?? known[topic] ?? 0));
      if (heard[topic] !== count) document.documentElement.dataset.heard = topic;
      heard[topic] = count;
    }
    if (found) chime();
    for (const bar of document.querySelectorAll(".live-bar")) {
      const count = (topics[bar.dataset.topic] ?? 0) - (known[bar.dataset.topic] ?? 0);
      if (count < 1 || bar.dataset.shown === String(count)) continue;
      bar.dataset.shown = String(count);
      const words = count === 1 ? bar.dataset.one : bar.dataset.many.replace("#", String(count));
      bar.querySelector("[data-count]").textContent = words;
      bar.hidden = false;
      say(words);
    }
    document.dispatchEvent(new CustomEvent("desk:news", { detail: topics }));
  };
  const onLock = location.pathname === "/lock" || location.pathname === "/start";
  // Tabs tell one another, since not each of many has a stream; a channel is of this port alone.
  const tabs = new BroadcastChannel("desk-locked");
  let leaving = false; // each of many tabs tells: to go again would break off the going
  const leave = () => {
    if (leaving) return;
    leaving = true;
    location.replace(`/lock?back=${encodeURIComponent(location.pathname)}`);
  };
  document.querySelector("[data-lock]")?.addEventListener("submit", () => { leaving = true; });
  const locked = () => { tabs.postMessage("locked"); leave(); };
  if (document.querySelector("[data-locked]")) tabs.postMessage("locked");
  if (!onLock) {
    const known = JSON.parse(document.querySelector('meta[name="desk-known"]').content);
    tabs.addEventListener("message", leave);
    const root = document.documentElement.dataset;
    const gone = document.getElementById("gone");
    let stream = null;
    let lost = 0;
    const connect = () => {
      stream = new EventSource("/live");
      stream.addEventListener("open", () => {
        root.live = "open";
        clearTimeout(lost);
        lost = 0;
        if (gone) gone.hidden = true;
      });
      stream.addEventListener("error", () => {
        const closed = stream.readyState === EventSource.CLOSED;
        root.live = closed ? "none" : "again";
        if (closed) setTimeout(connect, 10000); // perhaps another tab has been closed by then
        else if (!lost) lost = setTimeout(() => { if (gone) gone.hidden = false; }, 4000);
      });
      stream.addEventListener("news", (event) => news(JSON.parse(event.data).topics, known));
      stream.addEventListener("state", (event) => state(JSON.parse(event.data)));
    };
    const state = (state) => {
      if (state.locked) { locked(); return; }
      const silent = document.getElementById("silent");
      if (silent && silent.hidden === state.silent) {
        silent.hidden = !state.silent;
        if (state.silent) say(silent.textContent.trim());
      }
      const dialog = document.getElementById("idle");
      if (!dialog) return;
      if (state.idle_left_s !== null && !dialog.open) dialog.showModal();
      if (state.idle_left_s === null && dialog.open) dialog.close();
    };
    connect();
    window.addEventListener("pagehide", () => stream.close());
    // A page out of the browser's memory is drawn again: what was on it may be forgotten by now.
    window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
    document.querySelector("[data-stay]")?.addEventListener("click", () => {
      post("/stay");
      document.getElementById("idle").close();
    });
    let told = 0;
    const awake = () => {
      if (Date.now() - told < 30000 || document.getElementById("idle")?.open) return;
      told = Date.now();
      post("/stay");
    };
    for (const kind of ["pointerdown", "keydown", "wheel"]) document.addEventListener(kind, awake, { passive: true });
  }

  // ---------------------------------------------------------------- keys, by their place on the keyboard
  const typing = (target) =>
    target instanceof Element && target.closest("input, select, textarea, [contenteditable], dialog[open]") !== null &&
    !target.matches('input[type="checkbox"], input[type="radio"], input[type="button"], input[type="submit"]');
  const places = { KeyT: "/", KeyQ: "/queries", KeyA: "/audit", KeyF: "/fleet" };
  let going = 0;
  const step = (by) => {
    const rows = [...document.querySelectorAll(".rows li, [data-rows] tr")].filter((row) => row.querySelector("a[href]"));
    const at = rows.findIndex((row) => row.contains(document.activeElement));
    const next = rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + by))];
    next?.querySelector("a[href]").focus();
    return next !== undefined;
  };
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
    if (document.body.dataset.shortcuts !== "on" || onLock || typing(event.target)) return;
    const went = Date.now() - going < 1500;
    going = 0;
    if (went && !event.shiftKey && places[event.code]) {
      location.assign(places[event.code]);
    } else if (event.shiftKey && event.code === "KeyL") {
      document.querySelector("[data-lock]")?.requestSubmit();
    } else if ((event.shiftKey && event.code === "Slash") || event.key === "?") {
      location.assign("/help");
    } else if (event.shiftKey) {
      return;
    } else if (event.code === "KeyG") {
      going = Date.now();
    } else if (event.code === "Slash") {
      const filter = document.querySelector("[data-filter]");
      if (!filter) return;
      filter.focus();
    } else if (!document.querySelector("[data-own-keys]") && ["KeyJ", "KeyK"].includes(event.code)) {
      if (!step(event.code === "KeyJ" ? 1 : -1)) return;
    } else if (
      !document.querySelector("[data-own-keys]") && ["ArrowDown", "ArrowUp"].includes(event.code) &&
      event.target instanceof Element && event.target.closest(".rows, [data-rows]")
    ) {
      if (!step(event.code === "ArrowDown" ? 1 : -1)) return;
    } else {
      return;
    }
    event.preventDefault();
  });
})();
