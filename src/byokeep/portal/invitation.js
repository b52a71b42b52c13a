// Takes an invitation out of the address, which the browser would keep, and shows what it says. It keeps nothing itself.
"use strict";
(() => {
  const form = document.querySelector("form[data-invitation]");
  const take = () => {
    const shown = location.hash.slice(1);
    if (!shown) return;
    history.replaceState(null, "", location.pathname);
    form.elements.link.value = shown;
    form.submit();
  };
  addEventListener("hashchange", take);
  addEventListener("pagehide", () => form.reset());  // who comes back finds an empty field
  take();
})();
