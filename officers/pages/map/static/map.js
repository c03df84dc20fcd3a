// Draws the map of cameras over Leaflet. The list beside it works without: the map only ticks its
// boxes. Other scripts may send the element "map:states", detail {camera: {state, words, number}}.
"use strict";

(() => {
  const SHAPES = {
    off: '<circle cx="12" cy="12" r="8"/>',
    asked: '<circle cx="12" cy="12" r="8" class="map-filled"/>',
    well: '<circle cx="12" cy="12" r="8" class="map-filled"/>',
    new: '<circle cx="12" cy="12" r="8" class="map-filled"/><path d="M12 8v8M8 12h8" class="map-over"/>',
    gone: '<circle cx="12" cy="12" r="8"/><path d="M8 12h8"/>',
    blind: '<path d="M12 3 22 21H2Z" class="map-filled"/>',
    trouble: '<path d="M12 3 22 21H2Z" class="map-filled"/>',
    hit: '<rect x="3" y="3" width="18" height="18" class="map-filled"/>',
    refused: '<path d="M5 19 19 5M5 12 12 5M12 19 19 12"/>',
    missing: '<path d="M6 6 18 18M18 6 6 18"/>',
    down: '<path d="M8 2h8l6 6v8l-6 6H8l-6-6V8z" class="map-filled"/>',
  };

  function picture(state, number) {
    const known = Object.hasOwn(SHAPES, state) ? state : "off";
    const told = Number.isInteger(number) && number > 0
      ? `<text x="12" y="17" text-anchor="middle" class="map-number">${number}</text>` : "";
    return `<svg class="map-shape map-${known}" viewBox="0 0 24 24" aria-hidden="true">${SHAPES[known]}${told}</svg>`;
  }

  // What others wrote goes in as text, never as markup.
  function label(point) {
    const box = document.createElement("span");
    for (const words of [point.camera, point.place, point.words]) {
      if (!words) continue;
      const line = document.createElement("bdi");
      line.translate = false;
      line.textContent = words;
      if (box.childNodes.length) box.append(document.createElement("br"));
      box.append(line);
    }
    return box;
  }

  function start(root) {
    const canvas = root.querySelector(".map-canvas");
    const source = root.querySelector(".map-data");
    const boxes = new Map();
    for (const box of root.querySelectorAll(`input[type=checkbox][name="${CSS.escape(root.dataset.name)}"]`)) {
      boxes.set(box.value, box);
    }
    const choosing = root.dataset.map === "choose";
    count(root, boxes, choosing);
    if (!canvas || !source || !window.L || root.dataset.drawn) return;
    root.dataset.drawn = "yes";
    canvas.hidden = false;
    const data = JSON.parse(source.dataset.json);
    const map = L.map(canvas, {
      crs: data.globe ? L.CRS.EPSG3857 : L.CRS.Simple,
      attributionControl: false,
      zoomSnap: 0.25,
      minZoom: data.globe ? 1 : -8,
      maxZoom: data.globe ? 22 : 8,
      zoomAnimation: false,
      fadeAnimation: false,
      markerZoomAnimation: false,
      boxZoom: false,
    });
    root.leafletMap = map;
    L.control.scale({ imperial: false }).addTo(map);
    const where = (at) => L.latLng(at[1], at[0]);
    for (const line of data.lines) {
      L.polyline(line.map(where), { className: "map-plan", interactive: false }).addTo(map);
    }
    const places = new Map(data.points.map((point) => [point.camera, where(point.at)]));
    for (const way of data.ways) {
      const stops = way.cameras.filter((camera) => places.has(camera)).map((camera) => places.get(camera));
      if (stops.length > 1) {
        L.polyline(stops, { className: `map-way map-way-${way.kind}`, interactive: false }).addTo(map);
      }
    }
    const pins = new Map();
    for (const point of data.points) {
      const pin = L.marker(places.get(point.camera), {
        icon: icon(point.state, point.number),
        title: "",
        keyboard: choosing || Boolean(point.url),
        riseOnHover: true,
      }).addTo(map);
      pin.bindTooltip(() => label(point), { direction: "top", offset: [0, -12] });
      pins.set(point.camera, { pin, point });
      if (choosing) pin.on("click", () => { if (!drawing) toggle(point.camera); });
      else if (point.url) pin.on("click", () => { window.location.assign(point.url); });
    }
    // A plan in metres is of one building: all of it says where a camera is. A map may be of a country.
    const building = data.globe ? [] : data.lines.flat().map(where);
    const around = L.latLngBounds([...places.values(), ...building]);
    map.fitBounds(around.pad(building.length ? 0.04 : 0.15), { maxZoom: data.globe ? 18 : 5 });
    for (const { pin, point } of pins.values()) name(pin, point, point.state); // drawn by now

    function icon(state, number) {
      return L.divIcon({ className: "map-pin", html: picture(state, number), iconSize: [32, 32] });
    }
    function show(camera, state, number) {
      const held = pins.get(camera);
      if (!held) return;
      held.pin.setIcon(icon(state, number ?? held.point.number));
      name(held.pin, held.point, state);
    }
    // What the picture shows is said, too.
    function name(pin, point, state) {
      const element = pin.getElement();
      if (element?.getAttribute("role") !== "button") return;
      element.setAttribute("aria-label", [point.camera, point.place, point.words].filter(Boolean).join(", "));
      if (choosing) element.setAttribute("aria-pressed", String(state === "asked"));
    }
    root.addEventListener("map:states", (event) => {
      for (const [camera, told] of Object.entries(event.detail)) {
        const held = pins.get(camera);
        if (!held) continue;
        if (typeof told.words === "string") held.point.words = told.words;
        show(camera, told.state, told.number);
      }
    });

    let drawing = "";
    if (!choosing) return;
    const told = root.querySelector(".map-told");
    const tools = root.querySelector(".map-tools");
    tools.hidden = false;
    function toggle(camera) {
      const box = boxes.get(camera);
      if (!box) return;
      box.checked = !box.checked;
      box.dispatchEvent(new Event("change", { bubbles: true }));
    }
    for (const [camera, box] of boxes) {
      const follow = () => show(camera, box.checked ? "asked" : "off");
      box.addEventListener("change", follow);
      follow();
    }
    function stop() {
      drawing = "";
      map.pm?.disableDraw();
      for (const button of tools.querySelectorAll("[data-draw]")) button.setAttribute("aria-pressed", "false");
    }
    for (const button of tools.querySelectorAll("[data-draw]")) {
      if (!map.pm) { button.hidden = true; continue; }
      button.addEventListener("click", () => {
        const again = drawing === button.dataset.draw;
        stop();
        told.textContent = "";
        if (again) return;
        drawing = button.dataset.draw;
        button.setAttribute("aria-pressed", "true");
        told.textContent = drawing === "Rectangle" ? told.dataset.drawingRectangle : told.dataset.drawingPolygon;
        map.pm.enableDraw(drawing, {
          snappable: false, tooltips: false, continueDrawing: false,
          pathOptions: { className: "map-drawn" }, templineStyle: { className: "map-drawn" },
          hintlineStyle: { className: "map-drawn" },
        });
      });
    }
    tools.querySelector("[data-clear]").addEventListener("click", () => {
      stop();
      for (const box of boxes.values()) if (box.checked) {
        box.checked = false;
        box.dispatchEvent(new Event("change", { bubbles: true }));
      }
      told.textContent = told.dataset.cleared;
    });
    root.addEventListener("keydown", (event) => {
      if (event.code === "Escape" && drawing) { stop(); told.textContent = ""; event.stopPropagation(); }
    });
    map.on("pm:create", (event) => {
      const corners = event.layer.getLatLngs()[0].map((corner) => [corner.lng, corner.lat]);
      map.removeLayer(event.layer);
      stop();
      const added = [];
      for (const point of data.points) {
        const box = boxes.get(point.camera);
        if (!box || !inside(corners, point.at)) continue;
        added.push(point.camera);
        if (!box.checked) {
          box.checked = true;
          box.dispatchEvent(new Event("change", { bubbles: true }));
        }
      }
      told.textContent = added.length
        ? told.dataset.added.replace("{cameras}", added.join(", ")) : told.dataset.nothing;
    });
  }

  // Even-odd rule, as officers/desk/areas.py has it.
  function inside(corners, [east, north]) {
    let within = false;
    for (let at = 0, before = corners.length - 1; at < corners.length; before = at, at += 1) {
      const [x1, y1] = corners[at];
      const [x2, y2] = corners[before];
      if ((y1 > north) !== (y2 > north) && east < ((x2 - x1) * (north - y1)) / (y2 - y1) + x1) within = !within;
    }
    return within;
  }

  function count(root, boxes, choosing) {
    const words = root.querySelector(".map-count");
    if (!choosing || !words || root.dataset.counted) return;
    root.dataset.counted = "yes";
    const tell = () => {
      const chosen = [...boxes.values()].filter((box) => box.checked).length;
      words.textContent = words.dataset.words.replace("{n}", chosen).replace("{all}", boxes.size);
    };
    words.hidden = false;
    root.addEventListener("change", tell);
    tell();
  }

  function all() { for (const root of document.querySelectorAll("[data-map]")) start(root); }
  document.addEventListener("DOMContentLoaded", all);
  document.addEventListener("htmx:after:swap", all);
  document.addEventListener("htmx:afterSwap", all);
})();
