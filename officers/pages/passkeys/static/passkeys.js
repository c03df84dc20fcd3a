// A new passkey: made by the browser, then asked to sign the offer. What it answers goes along in the form.
"use strict";
(() => {
  const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  const text = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const on = (selector, ask, told) => {
    const form = document.querySelector(selector);
    if (!form) return;
    const button = form.querySelector("[data-go]");
    const wrong = form.querySelector("[data-wrong]");
    button.addEventListener("click", async () => {
      wrong.hidden = true;
      button.disabled = true;
      try {
        const credential = await ask(form.dataset);
        form.querySelector('[name="answer"]').value = JSON.stringify(told(credential.response));
        form.submit();
      } catch {
        button.disabled = false;
        wrong.hidden = false;
      }
    });
  };
  on(
    "[data-make-passkey]",
    (data) =>
      navigator.credentials.create({
        publicKey: {
          challenge: bytes(data.challenge),
          rp: { id: data.rp, name: "Sealtrace" },
          user: { id: bytes(data.user), name: data.name, displayName: data.name },
          pubKeyCredParams: [{ type: "public-key", alg: -7 }],
          authenticatorSelection: { residentKey: "required", userVerification: "required" },
          attestation: "none",
          timeout: 120000,
        },
      }),
    (response) => ({
      attestationObject: text(response.attestationObject),
      clientDataJSON: text(response.clientDataJSON),
    }),
  );
  on(
    "[data-use-new-passkey]",
    (data) =>
      navigator.credentials.get({
        publicKey: {
          challenge: bytes(data.challenge),
          rpId: data.rp,
          allowCredentials: [{ type: "public-key", id: bytes(data.credential) }],
          userVerification: "required",
          timeout: 120000,
        },
      }),
    (response) => ({
      authenticatorData: text(response.authenticatorData),
      clientDataJSON: text(response.clientDataJSON),
      signature: text(response.signature),
    }),
  );
})();
