// While an audit runs: say how far it is, and show the page anew when it is done.
"use strict";
(() => {
  const place = document.querySelector("[data-audit-work]");
  if (!place) return;
  place.classList.add("audit-scripted");
  const doing = place.querySelector("[data-doing]");
  const look = async () => {
    try {
      const answer = await fetch(place.dataset.auditWork, { headers: { accept: "application/json" } });
      if (!answer.ok) return;
      const work = await answer.json();
      if (!work.doing) {
        location.reload();
        return;
      }
      if (!work.stopping) doing.textContent = `${work.doing} …`;
    } catch {
      // The desk has ended, or the machine slept: the next look tells.
    }
    setTimeout(look, 700);
  };
  setTimeout(look, 400);
})();
