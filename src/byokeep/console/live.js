// Tells what happened after the page was loaded, and that the page is stale when nothing is heard any more.
// It writes text into places that the page has, and keeps nothing. Without it every page works.
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
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  if (!document.hidden) open();
})();
