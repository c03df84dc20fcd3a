// The moment under the slider: where the person was, and what each camera did then. The table and
// the map say the same without it.
"use strict";

(() => {
  const slider = document.querySelector("[data-slider]");
  const source = document.getElementById("trace-data");
  if (!slider || !source) return;
  const data = JSON.parse(source.textContent);
  if (data.moments.length < 2) return;
  const range = slider.querySelector("input");
  const told = slider.querySelector("output");
  const lanes = document.querySelectorAll(".lane");
  const map = document.querySelector("[data-map]");
  const step = data.moments[1][0] - data.moments[0][0];
  slider.hidden = false;
  document.documentElement.classList.add("has-slider");

  const inside = (from, to, at) => from < at + step && to > at;
  const within = (spells, at) => (spells || []).find(([from, to]) => from <= at && at < to);

  function show(quiet) {
    const [at, words] = data.moments[Number(range.value)];
    const x = `${Math.min(100, Math.max(0, (100 * (at - data.from)) / (data.to - data.from)))}%`;
    for (const lane of lanes) {
      const now = lane.querySelector(".now");
      now.setAttribute("x1", x);
      now.setAttribute("x2", x);
    }
    const stops = data.stops.filter((stop) => inside(stop.from, Math.max(stop.to, stop.from + 1), at));
    const said = stops.length ? stops.map((stop) => stop.words).join("; ") : told.dataset.nobody;
    const line = `${words} · ${said}`;
    told.textContent = line;
    range.setAttribute("aria-valuetext", line);
    const here = new Set(stops.map((stop) => stop.camera));
    const numbers = new Set(stops.map((stop) => String(stop.number)));
    for (const row of document.querySelectorAll("[data-lane]")) row.classList.toggle("at-stop", here.has(row.dataset.lane));
    for (const row of document.querySelectorAll("[data-stop]")) row.classList.toggle("at-stop", numbers.has(row.dataset.stop));
    if (!map || quiet) return;
    const states = {};
    for (const [camera, spells] of Object.entries(data.cameras)) {
      const spell = within(spells, at);
      const stop = stops.find((one) => one.camera === camera);
      states[camera] = stop
        ? { state: "hit", words: stop.words, number: stop.number }
        : { state: spell ? spell[2] : "off", words: spell ? spell[3] : "", number: 0 };
    }
    map.dispatchEvent(new CustomEvent("map:states", { detail: states }));
  }

  function go(direction) {
    const at = data.moments[Number(range.value)][0];
    const starts = data.stops.map((stop) => Math.round((stop.from - data.from) / step));
    const now = Math.round((at - data.from) / step);
    const next = direction > 0 ? starts.find((one) => one > now) : starts.filter((one) => one < now).pop();
    if (next === undefined) return;
    range.value = String(next);
    slide();
  }
  function slide() { show(false); }

  range.addEventListener("input", slide);
  for (const button of slider.querySelectorAll("[data-step]")) {
    button.addEventListener("click", () => go(Number(button.dataset.step)));
  }
  if (data.stops.length) range.value = String(Math.round((data.stops[0].from - data.from) / step));
  show(true);
})();
