// The API key, where the service asks for one: kept in this tab only.

const NAME = "amostra-key";

/** @returns {string} "" where there is none */
export const key = () => sessionStorage.getItem(NAME) ?? "";

/** Let the button open the dialog; `onchange` is called when there is another key. */
export function offerKey(/** @type {() => void} */ onchange) {
  const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("key-dialog"));
  const input = /** @type {HTMLInputElement} */ (document.getElementById("key-input"));
  document.getElementById("key-button").addEventListener("click", () => askForKey());
  dialog.addEventListener("close", () => {
    if (dialog.returnValue === "forget") sessionStorage.removeItem(NAME);
    if (dialog.returnValue === "keep") sessionStorage.setItem(NAME, input.value.trim());
    input.value = "";
    if (dialog.returnValue) onchange();
  });
}

/** Open the dialog. */
export function askForKey() {
  const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("key-dialog"));
  dialog.returnValue = "";
  dialog.showModal();
}
