element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-kinds]");
  if (button) trigger("choose", { kinds: button.dataset.kinds });
});
