// A picture in the count opens its cell, which the table of cells shows large.
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-look]");
  if (button) window.dispatchEvent(new CustomEvent("bc-look", { detail: Number(button.dataset.look) }));
});
