// Tells what happened after the page was loaded, and that the page is stale when nothing is heard any more.
// It writes text into places that the page has, and keeps nothing. Without it every page works.
// And two keys: Ctrl and / for the search of names, Ctrl and K for what somebody may do, whose links the page has. No key is
// taken alone: who dictates, or hits one by mistake, would set it off (WCAG 2.1.4).
"use strict";
(() => {
  const SILENT_MS = 6000, LOOK_MS = 1000;  // the server speaks each second
  const title = document.title, at = (id) => document.getElementById(id);
  let source = null, heard = 0, first = null, over = "", unfollowed = false;

  const show = (id, text) => {
    const place = at(id), inner = place.firstElementChild || place;
    if (inner.textContent !== text) inner.textContent = text;
    place.hidden = text === "";
    at("live").classList.toggle("on", [...at("live").children].some((one) => !one.hidden));
  };

  const stale = (text) => {
    document.body.classList.toggle("stale", text !== "");
    document.title = text ? `Stale: ${title}` : title;
    at("live-since").textContent = text ? "It is stale." : "Kill switches and the audit are followed live.";
  };

  const tell = (said) => {
    heard = performance.now();
    const many = said.engaged.length, all = said.engaged.some((one) => one.scope === "global");
    const now = JSON.stringify(said.engaged.map((one) => one.scope).sort());
    first = first ?? now;
    show("live-stopped", all ? "Everything is stopped: the kill switch is engaged."
      : many ? `${many} kill ${many === 1 ? "switch is" : "switches are"} engaged.` : "");
    show("live-audit", said.recording ? "" : "The store's audit is not proved to record: nothing is leased, and no value is taken in, until it is.");
    show("live-page", unfollowed ? "This page was loaded some time before it was followed: what it shows may not be so any more."
      : now === first ? "" : "A kill switch was engaged or released after this page was loaded.");
    stale("");
  };

  const lost = (text) => {
    show("live-page", text);
    stale(text);
  };

  const close = () => {
    if (source) source.close();
    source = null;
  };

  const open = () => {
    if (source || over) return;
    heard = performance.now();
    source = new EventSource("/console/live");
    source.addEventListener("engaged", (event) => tell(JSON.parse(event.data)));
    source.addEventListener("waits", (event) => show("waits", Number(event.data) ? event.data : ""));
    source.addEventListener("ended", () => {
      over = "Your session has ended: what this page shows may not be so any more.";
      close();
      lost(over);
    });
  };

  setInterval(() => {
    if (document.hidden || over || performance.now() - heard < SILENT_MS) return;
    lost("This page is stale: the server has not been heard for some seconds.");
    if (source && source.readyState === EventSource.CLOSED) { close(); setTimeout(open, 5 * LOOK_MS); }
  }, LOOK_MS);

  // A page that nobody looks at holds no connection: a browser has few to one host.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return close();
    if (first === null && performance.now() > SILENT_MS) unfollowed = true;
    open();
  });

  const here = document.querySelector(".top nav [aria-current]");
  if (here) {  // on a phone the menu is one line that is moved sideways
    const menu = here.closest("nav");
    menu.scrollLeft = here.offsetLeft - (menu.clientWidth - here.offsetWidth) / 2;
  }

  const dialog = at("do"), typed = at("do-find");
  const fits = () => [...dialog.querySelectorAll("li:not([hidden]) a")];
  const sift = () => {
    const word = typed.value.trim().toLowerCase();
    for (const one of dialog.querySelectorAll("li")) one.hidden = !one.textContent.toLowerCase().includes(word);
    const first = fits()[0];
    at("do-told").textContent = word === "" ? "" : first ? `Enter: ${first.textContent}` : "Enter: search names";
  };
  const choose = (event) => {
    event.preventDefault();
    if (!dialog.open) dialog.showModal();
    typed.value = "";
    sift();
    typed.focus();
  };
  if (dialog) {
    at("do-open").addEventListener("click", choose);
    at("do-open").lastElementChild.hidden = false;
    typed.addEventListener("input", sift);
    dialog.addEventListener("keydown", (event) => {
      const places = [typed, ...fits()], step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step) {
        event.preventDefault();
        places[(Math.max(places.indexOf(document.activeElement), 0) + step + places.length) % places.length].focus();
      } else if (event.key === "Enter" && event.target === typed && typed.value.trim() && places[1]) {
        event.preventDefault();
        places[1].click();
      }
    });
  }
  addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.altKey || event.isComposing) return;
    if (dialog && !event.shiftKey && event.key.toLowerCase() === "k") choose(event);
    if (event.key === "/") {  // with Shift where a keyboard has it there
      event.preventDefault();
      at("names").focus();
    }
  });

  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  if (!document.hidden) open();
})();
