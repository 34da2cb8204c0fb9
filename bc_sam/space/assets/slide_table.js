// The cells of a slide as a list, sorted, filtered and paged, or as a gallery by name; one of them large. File names are
// inserted as text, never as markup.
const PAGE = 50;
const ORDER = Object.keys(STATUS);
const COLUMNS = [
  ["", null],
  ["File", (row) => row.file.toLowerCase()],
  ["Status", (row) => ORDER.indexOf(row.status)],
  ["Name", (row) => row.hand || (isNamed(row) ? row.name : row.label) || ""],
  ["Probability", (row) => (isNamed(row) ? row.name_probability : row.probability) ?? -1],
  ["Second", (row) => row.second || ""],
  ["By hand", (row) => row.hand || ""],
];
let sorted = null, ascending = true, filter = "all", page = 0, gallery = false, large = null;
let seen = new Map();  // large pictures that have come, by row
let done = [];  // corrections that can be undone: [row, name before]
let turns = 0;  // number of the latest correction, as requests may overtake each other

const percent = (share) => share > 0.995 ? "> 99 %" : share < 0.005 ? "< 1 %" : `${Math.round(100 * share)} %`;

const FILTERS = { all: "All", first: "★ Name first", ...STATUS };
const passes = (row, by) => !isWithdrawn(row) && (by === "all" || (by === "first" ? Boolean(row.first) : row.status === by));

function visibleRows() {
  const filtered = rows.filter((row) => passes(row, filter));
  if (sorted === null) return filter === "first" ? filtered.sort((a, b) => a.first - b.first) : filtered;
  const key = COLUMNS[sorted][1];
  return filtered.sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    return (x < y ? -1 : x > y ? 1 : 0) * (ascending ? 1 : -1);
  });
}

function correct(row, label, kept = false) {
  if (row.status === "unreadable" || (row.hand || "") === label) return;
  if (!kept) done.push([row, row.hand || ""]);
  row.hand = label;
  row.status = label ? "hand" : row.automatic;
  trigger("correct", { position: row.position, label, turn: ++turns });
  if (isWithdrawn(row) || element.querySelector(`tbody tr[data-position="${row.position}"]`) === null) draw();
  refresh(row);
  tell();
}

// The fields draw the same cells; see slide_fields.js.
function tell() {
  window.dispatchEvent(new CustomEvent("bc-cells", { detail: { rows, kinds, undoable: done.length > 0 } }));
}

function undo() {
  const last = done.pop();
  if (last) correct(last[0], last[1], true);
}

function correctByKey(event, row) {
  const kind = kindOfKey(event);
  if (!kind) return false;
  event.preventDefault();
  correct(row, kind);
  return true;
}

function byHand(row) {
  if (row.status === "unreadable") return "";
  const options = [["", "–"], ...kinds];
  const select = make("select", {}, ...options.map(([value, text]) => make("option", { value, textContent: text })));
  select.value = row.hand || "";
  select.setAttribute("aria-label", `Name by hand for ${row.file}`);
  // Typing or arrow keys pass through other names on the way: together they are one correction, undone in one step.
  let own = null;
  select.addEventListener("focus", () => { own = null; });
  select.addEventListener("change", () => {
    const goesOn = own !== null && done.at(-1) === own;
    correct(row, select.value, goesOn);
    if (!goesOn) own = done.at(-1);
    else if (own[1] === (row.hand || "")) { done.pop(); own = null; drawTabs(); }
  });
  return select;
}

function picture(row) {
  if (!row.picture) return "";
  const button = make("button", { type: "button", className: "bc-look" }, make("img", { src: row.picture, alt: "" }));
  button.setAttribute("aria-label", `Look at ${row.file}`);
  button.addEventListener("click", () => look(row));
  button.addEventListener("keydown", (event) => correctByKey(event, row));
  return button;
}

function fill(line, row, select) {
  const named = isNamed(row);
  const name = row.hand ? plain(row.hand) : named ? plain(row.name) : "";
  const status = make("td", {}, make("span", { className: `bc-status bc-${row.status}`, textContent: STATUS[row.status] }));
  if (row.short) status.append(make("small", { textContent: row.short, title: row.why }));
  const beside = row.status === "unreadable" ? row.why : named ? "" : `most likely: ${plain(row.label)}`;
  line.className = `bc-row-${row.status}`;
  line.dataset.position = row.position;
  const keep = select ? select.closest("td") : make("td", {}, byHand(row));
  const cells = [
    make("td", { className: "bc-thumb" }, picture(row)),
    make("th", { scope: "row", textContent: row.file, title: row.why || row.file }),
    status,
    make("td", {}, make("b", { textContent: name }), beside ? make("small", { textContent: beside }) : ""),
    make("td", { className: "bc-right", textContent: row.label ? percent(named ? row.name_probability : row.probability) : "" }),
    make("td", {}, row.label ? `${plain(row.second)} ` : "", row.label ? make("small", { textContent: percent(row.second_probability) }) : ""),
  ];
  cells.forEach((cell, i) => { if (i) cell.dataset.head = COLUMNS[i][0]; });
  keep.dataset.head = "By hand";
  if (select) {
    select.value = row.hand || "";
    [...line.children].forEach((cell) => { if (cell !== keep) cell.remove(); });
    keep.before(...cells);
  } else line.replaceChildren(...cells, keep);
}

// Redraws what shows a row after a correction; the field that was used keeps the focus.
function refresh(row) {
  drawTabs();
  if (gallery) drawGallery();
  const line = element.querySelector(`tbody tr[data-position="${row.position}"]`);
  if (line) fill(line, row, line.querySelector("select"));
  if (large === row && element.querySelector("dialog").open) fillLarge();
}

function drawTabs() {
  const holder = element.querySelector(".bc-filters");
  const count = (key) => rows.filter((row) => passes(row, key)).length;
  holder.replaceChildren(...Object.keys(FILTERS).filter((key) => key === "all" || key === filter || count(key)).map((key) => {
    const button = make("button", { type: "button", textContent: `${FILTERS[key]} ${count(key)}` });
    if (key === "first") button.title = "The names of these cells help most to adapt the classifier: each is typical of a group of similar cells.";
    button.setAttribute("aria-pressed", key === filter);
    button.addEventListener("click", () => { filter = key; page = 0; draw(); element.querySelector(".bc-filters [aria-pressed=true]").focus(); });
    return button;
  }));
  const [list, byClass, back] = element.querySelector(".bc-views").children;
  list.setAttribute("aria-pressed", !gallery);
  byClass.setAttribute("aria-pressed", gallery);
  back.disabled = !done.length;
}

// One group per name, those that nobody named first; a picture dragged to a group gets its name.
function drawGallery() {
  const groups = new Map([["blast", []], ["review", []], ...[...parents, ...kinds].map(([kind]) => [kind, []])]);
  visibleRows().forEach((row) => {
    if (row.status !== "unreadable") groups.get(row.hand || (isNamed(row) ? row.name : row.status))?.push(row);
  });
  const focused = document.activeElement?.closest?.(".bc-gallery [data-position]")?.dataset.position;
  const sections = [...groups].filter(([, members]) => members.length).map(([name, members]) => {
    const title = STATUS[name] || plain(name);
    const tiles = members.map((row) => {
      const tile = picture(row);
      tile.dataset.position = row.position;
      tile.className = `bc-tile bc-row-${row.status}`;
      tile.draggable = true;
      tile.title = row.why || row.file;
      tile.addEventListener("dragstart", (event) => event.dataTransfer.setData("text/plain", row.position));
      return tile;
    });
    const section = make("section", {}, make("h4", { textContent: `${title} ` }, make("small", { textContent: members.length })),
      make("div", { className: "bc-tiles" }, ...tiles));
    if (kinds.some(([kind]) => kind === name)) {
      section.addEventListener("dragover", (event) => event.preventDefault());
      section.addEventListener("drop", (event) => {
        event.preventDefault();
        const row = rows.find((one) => String(one.position) === event.dataTransfer.getData("text/plain"));
        if (row) correct(row, name);
      });
    }
    return section;
  });
  element.querySelector(".bc-gallery").replaceChildren(...sections);
  if (focused) element.querySelector(`.bc-gallery [data-position="${focused}"]`)?.focus();
}

function look(row) {
  show(row);
  const dialog = element.querySelector("dialog");
  if (!dialog.open) dialog.showModal();
}

// Shows the small picture until the large one has come.
function show(row) {
  large = row;
  fillLarge();
  if (!seen.has(row.position)) trigger("look", { position: row.position });
}

function step(by) {
  const shown = visibleRows().filter((row) => row.picture);
  const next = shown[shown.indexOf(large) + by];
  if (next) show(next);
}

function fillLarge() {
  const row = large, dialog = element.querySelector("dialog");
  const said = row.hand ? `By hand: ${plain(row.hand)}` : isNamed(row) ? plain(row.name) : STATUS[row.status];
  const guess = `Most likely ${plain(row.label).toLowerCase()}, ${percent(row.probability)}; then ${plain(row.second).toLowerCase()}, ${percent(row.second_probability)}.`;
  const choices = kinds.map(([kind, text], i) => {
    const button = make("button", { type: "button" }, i < 9 ? make("kbd", { textContent: i + 1 }) : "", text);
    button.setAttribute("aria-pressed", row.hand === kind);
    button.addEventListener("click", () => correct(row, row.hand === kind ? "" : kind));
    return button;
  });
  const turn = (text, act) => {
    const button = make("button", { type: "button", textContent: text });
    button.addEventListener("click", act);
    return button;
  };
  const back = turn("Undo", undo);
  back.disabled = !done.length;
  const inField = row.field === undefined ? "" : turn("Show in its field", () => {
    dialog.close();
    window.dispatchEvent(new CustomEvent("bc-show", { detail: row }));
  });
  dialog.replaceChildren(
    make("img", { src: seen.get(row.position) || row.picture, alt: `The cell of ${row.file}, outlined` }),
    make("div", {}, make("h3", { textContent: said }), make("p", { textContent: guess }), make("p", { textContent: row.why || "" }),
      make("p", { className: "bc-file", textContent: row.file }),
      make("div", { className: "bc-choices", role: "group", ariaLabel: "Name by hand" }, ...choices),
      make("div", { className: "bc-pages" }, turn("← Back", () => step(-1)), turn("Next →", () => step(1)), back, inField, turn("Close", () => dialog.close())),
      make("p", { className: "bc-note", textContent: "Keys: 1 to 9 name the cell, arrows go on, U undoes, Esc closes." })),
  );
  dialog.focus();  // the button that had it is gone, and keys would go nowhere
}

function keysOfLarge(event) {
  if (event.target.closest("select, input, textarea")) return;
  if (correctByKey(event, large)) return;
  if (event.key === "ArrowRight" || event.key === "ArrowLeft") { event.preventDefault(); step(event.key === "ArrowRight" ? 1 : -1); }
  if (event.key.toLowerCase() === "u") { event.preventDefault(); undo(); }
}

function draw() {
  const body = element.querySelector("tbody");
  if (!body) return;
  element.querySelector(".bc-slide").hidden = rows.every(isWithdrawn);
  const all = visibleRows(), pages = Math.max(1, Math.ceil(all.length / PAGE));
  page = Math.min(page, pages - 1);
  body.replaceChildren(...all.slice(page * PAGE, (page + 1) * PAGE).map((row) => {
    const line = make("tr");
    fill(line, row);
    return line;
  }));
  [...element.querySelector("thead tr").cells].forEach((head, i) => {
    if (i === sorted) head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    else head.removeAttribute("aria-sort");
  });
  const [back, range, next] = element.querySelector(".bc-slide > .bc-pages").children;
  range.textContent = all.length ? `${page * PAGE + 1} to ${Math.min(all.length, (page + 1) * PAGE)} of ${all.length}` : "none";
  back.disabled = page === 0;
  next.disabled = page >= pages - 1;
  back.parentElement.hidden = gallery || pages === 1;
  element.querySelector(".bc-list").hidden = gallery;
  element.querySelector(".bc-gallery").hidden = !gallery;
  if (gallery) drawGallery();
  drawTabs();
}

function build() {
  const heads = COLUMNS.map(([name, key], i) => {
    if (!key) return make("td");  // the picture
    const button = make("button", { type: "button", textContent: name });
    button.addEventListener("click", () => { ascending = sorted === i ? !ascending : i !== 4; sorted = i; page = 0; draw(); });
    return make("th", { scope: "col", className: i === 4 ? "bc-right" : "" }, button);
  });
  const act = (text, run) => {
    const button = make("button", { type: "button", textContent: text });
    button.addEventListener("click", run);
    return button;
  };
  const dialog = make("dialog", { className: "bc-large", ariaLabel: "One cell", tabIndex: -1 });
  dialog.addEventListener("keydown", keysOfLarge);
  element.querySelector(".bc-slide").replaceChildren(
    make("h3", { textContent: "Cells" }),
    make("div", { className: "bc-filters", role: "group", ariaLabel: "Show" }),
    make("div", { className: "bc-views", role: "group", ariaLabel: "View" },
      act("List", () => { gallery = false; draw(); }), act("Gallery by name", () => { gallery = true; draw(); }), act("Undo", undo)),
    make("div", { className: "bc-scroll bc-list" }, make("table", { className: "bc-table bc-cells" }, make("thead", {}, make("tr", {}, ...heads)), make("tbody"))),
    make("div", { className: "bc-gallery", hidden: true }),
    make("div", { className: "bc-pages" }, act("Back", () => { page -= 1; draw(); }), make("span", { role: "status" }), act("Next", () => { page += 1; draw(); })),
    dialog,
  );
}

function update() {
  const value = typeof props.value === "string" ? JSON.parse(props.value || "{}") : props.value || {};
  rows = value.rows || [];
  kinds = value.kinds || [];
  parents = value.parents || [];
  if (!value.keep) { sorted = null; ascending = true; filter = "all"; page = 0; done = []; seen = new Map(); }
  else done = done.map(([row, name]) => [rows.find((one) => one.position === row.position), name]).filter(([row]) => row);
  const added = rows.find((row) => row.position === value.added);
  if (added) done.push([added, NO_CELL]);  // to undo it is to take it back
  build();
  draw();
  tell();
}
window.addEventListener("bc-look", (event) => {
  const row = rows.find((one) => one.position === event.detail);
  if (row) look(row);
});
window.addEventListener("bc-correct", (event) => {
  const row = rows.find((one) => one.position === event.detail.position);
  if (row) correct(row, event.detail.label);
});
window.addEventListener("bc-undo", undo);
window.addEventListener("bc-ask-cells", tell);
window.addEventListener("bc-large", ({ detail: { position, file, picture } }) => {
  if (!rows.some((row) => row.position === position && row.file === file)) return;  // of the slide before
  seen.set(position, picture);
  if (large?.position === position) element.querySelector("dialog[open] > img")?.setAttribute("src", picture);
});
watch("value", update);
update();
