element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-place]");
  if (button) trigger("choose", { place: Number(button.dataset.place) });
});
