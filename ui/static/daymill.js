// This script adds to htmx: live parts pause while the page is hidden or when the user pauses them, and show when the
// server does not answer; the clock ticks. The pages also work without it.
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

  // A live part without an answer would continue to show old data: say how old it is.
  const clock = document.querySelector("[data-clock]");
  const silent = document.querySelector("[data-silent]");
  const loaded = performance.now();
  const began = clock ? Date.parse(clock.dateTime) : 0;
  const now = () => new Date(began + performance.now() - loaded);
  const formatIn = (timeZone) => new Intl.DateTimeFormat("en-GB", { timeZone, hour: "2-digit", minute: "2-digit", second: "2-digit" });
  let format;
  try {
    format = formatIn(clock?.dataset.zone);
  } catch {
    format = formatIn(undefined); // If the browser does not know the zone, use its own.
  }
  let answered = now();

  const unanswered = (event) => {
    if (!silent || !event.target.closest?.("[data-live]")) return;
    const text = `No answer since ${format.format(answered)}: what this page shows may be out of date.`;
    if (silent.textContent !== text) silent.textContent = text;
    silent.hidden = false;
  };
  document.addEventListener("htmx:error", unanswered);
  document.addEventListener("htmx:response:error", unanswered);
  document.addEventListener("htmx:after:swap", () => {
    answered = now();
    if (silent) silent.hidden = true;
  });
  if (clock) {
    setInterval(() => {
      clock.querySelector("[data-time]").textContent = format.format(now());
    }, 1000);
  }

  document.addEventListener("DOMContentLoaded", () => {
    if (!document.querySelector("[data-live]")) return;
    document.querySelectorAll("[data-live-toggle]").forEach((button) => {
      button.hidden = false;
      label(button);
    });
  });
})();
