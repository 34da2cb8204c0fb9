// Pasted images go to the file field of the visible tab, as dropped ones do.
document.addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])].filter((file) => file.type.startsWith("image/"));
  const field = [...document.querySelectorAll(".bc-drop input[type=file]")].find((input) => input.closest(".bc-drop").offsetParent);
  if (!files.length || !field) return;
  event.preventDefault();
  const transfer = new DataTransfer();
  (field.multiple ? files : files.slice(0, 1)).forEach((file) => transfer.items.add(file));
  field.files = transfer.files;
  field.dispatchEvent(new Event("change", { bubbles: true }));
});

// Downloads are created in the browser, so that no file stays on the server.
window.bcSave = (text, name, type) => {
  if (!text) return;
  const link = document.createElement("a");
  const content = type === "base64" ? Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0)) : text;
  link.href = URL.createObjectURL(new Blob([content], { type: type === "base64" ? "application/octet-stream" : type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
};

// The large picture of a cell has come from the server.
window.bcLarge = (text) => { if (text) window.dispatchEvent(new CustomEvent("bc-large", { detail: JSON.parse(text) })); };

// A new file takes the old answer away, also if it is then refused; the answer to it brings the place back.
document.addEventListener("change", (event) => {
  const drop = event.target.matches?.("input[type=file]") && event.target.closest(".bc-drop");
  if (!drop) return;
  const several = event.target.multiple;
  (several ? ["slide-notice", "laboratory", "count", "fields", "cells"] : ["answer"]).forEach((id) => {
    const place = document.getElementById(id);
    if (!place) return;
    place.classList.add("bc-stale");
    const seen = new MutationObserver(() => { place.classList.remove("bc-stale"); seen.disconnect(); });
    seen.observe(place, { childList: true, subtree: true, characterData: true });
  });
}, true);
