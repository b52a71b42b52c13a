// Asks the browser for a passkey when a form wants one, and sends the form with it. It keeps nothing.
"use strict";
for (const form of document.querySelectorAll("form[data-passkey]")) {
  if (!globalThis.PublicKeyCredential?.parseRequestOptionsFromJSON) break;
  const failed = form.querySelector("[role=alert]"), word = form.elements.form.value;
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    failed.hidden = true;
    try {
      const asked = await fetch(form.dataset.passkey, {
        method: "POST", redirect: "manual", body: new URLSearchParams({ form: word }),
        headers: { "Content-Type": "application/x-www-form-urlencoded" },
      });
      if (asked.type === "opaqueredirect") {  // the session has ended, or is to be proved again
        location.assign(`/${location.pathname.split("/")[1]}/sign-in?next=${encodeURIComponent(location.pathname)}`);
        return;
      }
      const said = await asked.json();
      const found = "user" in said
        ? await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(said) })
        : await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(said) });
      form.elements.passkey.value = JSON.stringify(found);
      form.submit();
    } catch (error) {  // the one that this device has is among those that it was told not to make again
      if (error.name === "InvalidStateError") failed.textContent = "This device has a passkey of yours already: it signs you in.";
      failed.hidden = false;
    }
  });
}
