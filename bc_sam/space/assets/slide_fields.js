// One field at a time: its picture, its cells as buttons that name and remove them, and a mode in which cells are added.
// Names are given by the table of cells, which also undoes; see slide_table.js.
let value = {}, adding = false, zoom = 1, chosen = null, wanted = null;
let buttons = new Map(), shapes = new Map();
const SVG = "http://www.w3.org/2000/svg";
const send = (name, detail) => window.dispatchEvent(new CustomEvent(name, { detail }));
const shownRows = () => rows.filter((row) => row.field === value.shown && value.shapes?.[row.position]);
const part = (name) => element.querySelector(`.bc-field-${name}`);
const say = (text) => { part("said").textContent = text; };

function nameOf(row) {
  if (row.hand === NO_CELL) return "✕ removed";
  if (row.hand) return plain(row.hand);
  return isNamed(row) ? plain(row.label) : `${plain(row.label)}?`;
}

function act(text, run, properties = {}) {
  const button = make("button", { type: "button", textContent: text, ...properties });
  button.addEventListener("click", run);
  return button;
}

function correct(row, label) { send("bc-correct", { position: row.position, label }); }

// Removes a cell that is none; again, it comes back.
function remove(row) {
  const next = [...buttons.values()], at = next.indexOf(buttons.get(row.position));
  correct(row, row.hand === NO_CELL ? "" : NO_CELL);
  say(row.hand === NO_CELL ? `${row.file} was removed. Undo, or Delete again, brings it back.` : `${row.file} is back.`);
  if (isWithdrawn(row)) (next[at + 1] || next[at - 1] || part("add")).focus();
}

function keys(event, row) {
  const kind = kindOfKey(event);
  if (kind) correct(row, kind);
  else if (event.key === "Delete" || event.key === "Backspace") remove(row);
  else if (event.key.toLowerCase() === "u" && !event.ctrlKey && !event.metaKey) send("bc-undo");
  else return;
  event.preventDefault();
}

// The bar below the picture, in which the chosen cell is named.
function choose(row, focus = true) {
  chosen = row?.position ?? null;
  const bar = part("bar");
  bar.hidden = !row;
  buttons.forEach((button, position) => button.setAttribute("aria-pressed", position === chosen));
  if (!row) return;
  const options = [["", "–"], ...kinds];
  const select = make("select", { ariaLabel: `Name by hand in the field for ${row.file}` },
    ...options.map(([label, text]) => make("option", { value: label, textContent: text })));
  select.value = row.hand || "";
  select.addEventListener("change", () => correct(row, select.value));
  select.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { buttons.get(row.position)?.focus(); choose(null); }
  });
  bar.replaceChildren(
    make("img", { src: row.picture, alt: "" }),
    make("div", {}, make("b", { textContent: row.file }), make("p", { textContent: row.why || STATUS[row.status] })),
    make("div", { className: "bc-views" }, select, act(row.hand === NO_CELL ? "Bring back" : "Remove", () => { remove(row); choose(isWithdrawn(row) ? null : row, false); }),
      act("Look", () => send("bc-look", row.position)), act("Close", () => { buttons.get(row.position)?.focus(); choose(null); })),
  );
  if (focus) select.focus();
}

function draw(row) {
  const [left, top, width, height] = value.shapes[row.position].box;
  let button = buttons.get(row.position);
  if (!button) {
    button = make("button", { type: "button" }, make("span"));
    Object.assign(button.style, { left: `${left}%`, top: `${top}%`, width: `${width}%`, height: `${height}%` });
    button.addEventListener("click", () => choose(rows.find((one) => one.position === row.position)));
    button.addEventListener("keydown", (event) => keys(event, rows.find((one) => one.position === row.position)));
    part("view").append(button);
    buttons.set(row.position, button);
    const outlines = ["bc-halo", "bc-line"].map((name) => {
      const outline = document.createElementNS(SVG, "polygon");
      outline.setAttribute("points", value.shapes[row.position].points);
      outline.setAttribute("class", name);
      return outline;
    });
    const group = document.createElementNS(SVG, "g");
    group.append(...outlines);
    part("view").querySelector("svg").append(group);
    shapes.set(row.position, group);
  }
  const state = row.hand === NO_CELL ? "removed" : row.status;
  button.className = `bc-cell bc-cell-${state}${top < 6 ? " bc-cell-below" : ""}${left > 60 ? " bc-cell-end" : ""}`;
  shapes.get(row.position).setAttribute("class", `bc-outline-${state}`);
  button.firstChild.textContent = nameOf(row);
  button.setAttribute("aria-label", `${row.file}: ${nameOf(row)}, ${STATUS[row.status].slice(2).toLowerCase()}`);
  button.title = row.why || row.file;
  button.hidden = isWithdrawn(row);
  shapes.get(row.position).style.display = isWithdrawn(row) ? "none" : "";
}

function drawCells() {
  if (!part("view")) return;
  shownRows().forEach(draw);
  buttons.forEach((button, position) => { if (button.hidden) { buttons.delete(position); button.remove(); shapes.get(position).remove(); shapes.delete(position); } });
  drawChooser();
  const row = rows.find((one) => one.position === chosen && !isWithdrawn(one));
  const select = part("bar").querySelector("select");
  if (row && select) {
    select.value = row.hand || "";
    part("bar").querySelector("p").textContent = row.why || STATUS[row.status];
    part("bar").querySelector(".bc-views button").textContent = row.hand === NO_CELL ? "Bring back" : "Remove";
  } else if (chosen !== null) choose(null);
}

function drawChooser() {
  const count = (index) => rows.filter((row) => row.field === index && row.hand !== NO_CELL).length;
  const described = (index) => `${count(index)} white cell${count(index) === 1 ? "" : "s"}`;
  const chooser = part("chooser");
  [...chooser.options].forEach((option, i) => { option.textContent = `${i + 1}. ${value.fields[i].name}: ${described(i)}`; });
  const { red_cells: red, name } = value.fields[value.shown];
  part("count").textContent = `${name}: ${described(value.shown)}${red === null ? "" : `, ${red} red cell${red === 1 ? "" : "s"}`}`;
}

function turn(index) {
  if (index < 0 || index >= value.fields.length || index === value.shown) return;
  say("Fetching the field …");
  trigger("turn", { field: index });
}

function setZoom(to) {
  zoom = Math.min(4, Math.max(1, to));
  part("view").style.width = `calc(${zoom} * min(100%, 75vh * ${value.shape[1] / value.shape[0]}))`;
  part("smaller").disabled = zoom === 1;
  part("larger").disabled = zoom === 4;
}

function setAdding(to) {
  adding = to;
  part("add").setAttribute("aria-pressed", adding);
  part("view").classList.toggle("bc-adding", adding);
  part("marker").hidden = !adding;
  if (adding) say("Click on a cell that was missed, or move the cross by the arrow keys and press Enter. Esc ends it.");
}

function ask(x, y) {
  say("Asking the model …");
  trigger("point", { field: value.shown, x: x * value.shape[1], y: y * value.shape[0] });
}

function markerKeys(event) {
  const step = event.shiftKey ? 0.1 : 0.01;
  const move = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
  if (event.key === "Escape") { setAdding(false); say(""); part("add").focus(); }
  else if (move) place(...["x", "y"].map((axis, i) => Number(part("marker").dataset[axis]) + move[i]));
  else return;
  event.preventDefault();
}

function place(x, y) {
  const marker = part("marker"), inside = [x, y].map((at) => Math.min(0.999, Math.max(0, at)));
  [marker.dataset.x, marker.dataset.y] = inside;
  Object.assign(marker.style, { left: `${100 * inside[0]}%`, top: `${100 * inside[1]}%` });
}

function build() {
  const section = element.querySelector(".bc-fields"), several = value.fields.length > 1;
  const field = value.fields[value.shown];
  const chooser = make("select", { className: "bc-field-chooser", ariaLabel: "Field" }, ...value.fields.map((_, i) => make("option", { value: i })));
  chooser.value = value.shown;
  chooser.addEventListener("change", () => turn(Number(chooser.value)));
  const view = make("div", { className: "bc-field-view" });
  view.style.aspectRatio = `${value.shape[1]} / ${value.shape[0]}`;
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${value.shape[1]} ${value.shape[0]}`);
  svg.setAttribute("aria-hidden", "true");
  const marker = make("button", { type: "button", className: "bc-field-marker", textContent: "+", hidden: true, ariaLabel: "Add a cell here; arrow keys move the cross" });
  marker.addEventListener("keydown", markerKeys);
  view.append(value.picture ? make("img", { src: value.picture, alt: `The field ${field.name}` }) : "", svg, marker);
  view.addEventListener("click", (event) => {
    if (!adding) return;
    if (event.detail === 0) { ask(Number(marker.dataset.x), Number(marker.dataset.y)); return; }
    const box = view.getBoundingClientRect();
    ask((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
  });
  section.replaceChildren(
    make("h3", { textContent: several ? `Fields: ${value.fields.length}` : "Field" }),
    make("div", { className: "bc-pages", hidden: !several }, act("Back", () => turn(value.shown - 1), { disabled: value.shown === 0 }), chooser,
      act("Next", () => turn(value.shown + 1), { disabled: value.shown === value.fields.length - 1 })),
    make("p", { className: "bc-field-count" }),
    make("p", { className: "bc-field-problem", textContent: field.problem, hidden: !field.problem }),
    make("div", { className: "bc-views", hidden: !value.picture },
      act("Add a missed cell", () => { setAdding(!adding); if (adding) marker.focus({ preventScroll: true }); else say(""); }, { className: "bc-field-add", hidden: !value.can_add }),
      act("Undo", () => send("bc-undo"), { className: "bc-field-undo" }),
      act("−", () => setZoom(zoom / 2), { className: "bc-field-smaller", ariaLabel: "Smaller" }), act("+", () => setZoom(zoom * 2), { className: "bc-field-larger", ariaLabel: "Larger" })),
    make("div", { className: "bc-field-scroll", hidden: !value.picture }, view),
    make("p", { className: "bc-field-said", role: "status" }),
    make("div", { className: "bc-field-bar", hidden: true }),
    make("p", { className: "bc-note", hidden: !value.picture, textContent: value.picture ? "Click a cell, or step to it by Tab and press Enter, to name it. Keys 1 to 9 name it, Delete removes a false find, U undoes." : "The picture of this field is not kept." }),
  );
  place(0.5, 0.5);
  setZoom(zoom);
}

function update() {
  const before = value.shown;
  value = (typeof props.value === "string" ? JSON.parse(props.value || "{}") : props.value) || {};
  const section = element.querySelector(".bc-fields");
  section.hidden = !value.fields;
  buttons = new Map();
  shapes = new Map();
  chosen = null;
  if (!value.fields) { section.replaceChildren(); adding = false; zoom = 1; return; }
  const top = before === value.shown ? element.querySelector(".bc-field-scroll") : null;
  const scrolled = top && [top.scrollLeft, top.scrollTop];
  const goOn = adding && value.said !== undefined && value.can_add;
  build();
  if (scrolled) [part("scroll").scrollLeft, part("scroll").scrollTop] = scrolled;
  send("bc-ask-cells");
  setAdding(goOn);
  say(value.said || "");
  focusOn(wanted ?? value.focus);
  wanted = null;
}

// The table may know a new cell only a moment later.
function focusOn(position) {
  if (position === undefined || position === null) return;
  if (buttons.has(position)) { buttons.get(position).focus(); wanted = null; } else wanted = position;
}

window.addEventListener("bc-cells", (event) => {
  ({ rows, kinds } = event.detail);
  if (!value.fields) return;
  drawCells();
  part("undo").disabled = !event.detail.undoable;
  if (wanted !== null) focusOn(wanted);
});
window.addEventListener("bc-show", (event) => {
  const row = event.detail;
  if (row.field === value.shown) focusOn(row.position);
  else { wanted = row.position; turn(row.field); }
});
watch("value", update);
update();
