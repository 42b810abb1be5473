// What the pages do beyond htmx: live parts rest while nobody looks at them or when asked to, and a filter applies
// itself when it is changed. Everything works without it.
"use strict";

(() => {
  const key = "daymill-live";
  const paused = () => localStorage.getItem(key) === "paused";

  const label = (button) => {
    button.textContent = paused() ? "Resume updates" : "Pause updates";
    button.setAttribute("aria-pressed", String(paused()));
  };

  document.addEventListener("htmx:before:request", (event) => {
    const live = event.target.closest("[data-live]");
    if (live && (document.hidden || paused())) {
      event.preventDefault();
    }
  });

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-live-toggle]");
    if (!button) return;
    localStorage.setItem(key, paused() ? "on" : "paused");
    document.querySelectorAll("[data-live-toggle]").forEach(label);
  });

  document.addEventListener("change", (event) => {
    const form = event.target.closest("form[data-apply]");
    if (form && event.target.matches("select")) form.requestSubmit();
  });

  document.addEventListener("DOMContentLoaded", () => {
    if (!document.querySelector("[data-live]")) return;
    document.querySelectorAll("[data-live-toggle]").forEach((button) => {
      button.hidden = false;
      label(button);
    });
  });
})();
