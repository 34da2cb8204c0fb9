// Pasted images go where dropped ones go: to the file field of the tab that is shown.
document.addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])].filter((file) => file.type.startsWith("image/"));
  const field = [...document.querySelectorAll(".bc-drop input[type=file]")].find((one) => one.closest(".bc-drop").offsetParent);
  if (!files.length || !field) return;
  event.preventDefault();
  const taken = new DataTransfer();
  (field.multiple ? files : files.slice(0, 1)).forEach((file) => taken.items.add(file));
  field.files = taken.files;
  field.dispatchEvent(new Event("change", { bubbles: true }));
});

// Files to take away are made in the browser, so that none lies on the server.
window.bcSave = (text, name, type) => {
  if (!text) return;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
};
