// Photographs are sent one by one as they are dropped, and each is judged at once.
"use strict";

(() => {
  const form = document.querySelector("[data-drop]");
  if (!form) return;
  const token = document.querySelector('meta[name="desk-token"]').content;
  const place = document.getElementById("photos");
  const told = form.querySelector(".drop-told");
  const chosen = form.querySelector('input[type="file"]');
  const masked = form.querySelector('input[name="masked"]');
  form.querySelector("[data-look]").hidden = true;

  async function send(action, body) {
    body.append("part", "yes");
    const answer = await fetch(action, { method: "POST", body, headers: { "x-desk-token": token } });
    if (answer.redirected || answer.status === 401) { location.reload(); return; }
    if (!answer.ok) throw new Error(String(answer.status));
    place.innerHTML = await answer.text(); // drawn and escaped by the desk
  }

  let waiting = Promise.resolve();
  function look(files) {
    const all = [...files];
    waiting = waiting.then(async () => {
      for (const [at, file] of all.entries()) {
        told.textContent = form.dataset.looking.replace("{at}", at + 1).replace("{all}", all.length);
        const body = new FormData();
        body.append("photos", file, file.name);
        if (masked.checked) body.append("masked", "yes");
        try {
          await send(form.action, body);
          told.textContent = form.dataset.done;
        } catch {
          told.textContent = `${file.name}: ${form.dataset.failed}`;
        }
      }
    });
  }

  chosen.addEventListener("change", () => { look(chosen.files); chosen.value = ""; });
  masked.addEventListener("change", () => {
    const body = new FormData();
    if (masked.checked) body.append("masked", "yes");
    waiting = waiting.then(() => send(form.action, body)).catch(() => location.reload());
  });
  for (const kind of ["dragenter", "dragover"]) {
    form.addEventListener(kind, (event) => { event.preventDefault(); form.classList.add("drop-over"); });
  }
  for (const kind of ["dragleave", "drop"]) form.addEventListener(kind, () => form.classList.remove("drop-over"));
  form.addEventListener("drop", (event) => {
    event.preventDefault();
    look(event.dataTransfer.files);
  });
  // A photo that misses the place is not opened in its stead.
  for (const kind of ["dragover", "drop"]) window.addEventListener(kind, (event) => event.preventDefault());
  place.addEventListener("submit", (event) => {
    if (!event.target.matches("[data-photo-drop]")) return;
    event.preventDefault();
    const body = new FormData(event.target);
    waiting = waiting.then(() => send(event.target.action, body)).catch(() => location.reload());
  });
  const enrol = document.querySelector("[data-enrol]");
  enrol.addEventListener("submit", () => { enrol.querySelector(".drop-told").textContent = enrol.dataset.enrolling; });
})();
