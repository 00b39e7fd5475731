// Keeps a page as it is now. Everything on it can be read without this script.
"use strict";
(() => {
  const events = document.body.dataset.events;
  const parts = () => [...document.querySelectorAll("[data-live]")];
  const say = (text) => {
    const place = document.getElementById("live");
    if (place) place.textContent = text;
  };

  // The server says that something changed; the page is fetched again and its live parts swapped.
  const refresh = async () => {
    const open = new Set([...document.querySelectorAll("[data-live] details[open] > summary")].map((s) => s.textContent));
    const shut = new Set([...document.querySelectorAll("[data-live] details:not([open]) > summary")].map((s) => s.textContent));
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (!answer.ok || answer.redirected) return;
    const next = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of parts()) {
      const fresh = next.querySelector(`[data-live="${part.dataset.live}"]`);
      if (!fresh) continue;
      for (const details of fresh.querySelectorAll("details")) {
        const summary = details.querySelector("summary")?.textContent;
        if (open.has(summary)) details.open = true;
        if (shut.has(summary)) details.open = false;
      }
      if (fresh.innerHTML === part.innerHTML) continue;
      // What is in use stays: the text being read, the place of the keyboard.
      const selection = document.getSelection();
      if (selection && !selection.isCollapsed && part.contains(selection.anchorNode)) continue;
      const focused = part.contains(document.activeElement) ? document.activeElement : null;
      const href = focused?.getAttribute("href");
      part.replaceChildren(...fresh.childNodes);
      if (href) [...part.querySelectorAll("a")].find((a) => a.getAttribute("href") === href)?.focus({ preventScroll: true });
    }
  };

  if (events && parts().length > 0) {
    let first = true;
    let timer = null;
    const source = new EventSource(events);
    source.addEventListener("change", () => {
      say("live");
      // The first event is the state that the page already shows.
      if (first) { first = false; return; }
      timer ??= setTimeout(() => { timer = null; refresh().catch(() => {}); }, 300);
    });
    source.addEventListener("error", () => { say("not connected"); });
    addEventListener("pagehide", () => source.close());
  }

  // A log that is being written grows at its end.
  const log = document.querySelector("[data-follow]");
  if (log) {
    const source = new EventSource(log.dataset.follow);
    const atEnd = () => log.scrollTop + log.clientHeight >= log.scrollHeight - 30;
    log.scrollTop = log.scrollHeight;
    source.addEventListener("lines", (event) => {
      const stay = atEnd();
      log.insertAdjacentHTML("beforeend", event.data);
      if (stay) log.scrollTop = log.scrollHeight;
    });
    source.addEventListener("end", () => {
      source.close();
      const note = document.getElementById("follow");
      if (note) note.textContent = "Complete.";
    });
    addEventListener("pagehide", () => source.close());
  }

  // Empty filters leave the address.
  const form = document.querySelector("form[data-filter]");
  if (form) {
    const go = () => {
      const chosen = new URLSearchParams();
      for (const [name, value] of new FormData(form)) if (value) chosen.append(name, value);
      const query = chosen.toString();
      location.assign(form.action + (query ? "?" + query : ""));
    };
    form.addEventListener("submit", (event) => { event.preventDefault(); go(); });
  }

  // `/` goes to the search, as in other tools.
  addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, select, textarea, [contenteditable]");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      (document.getElementById("f-q") ?? document.getElementById("search"))?.focus();
    }
  });
})();
