// The table of a slide, sorted, filtered and paged in the browser, fifty rows at a time. File names are inserted as
// text, never as markup.
const PAGE = 50;
const STATUS = {
  review: "⚠ For review", check: "? Check name", unreadable: "✕ Unreadable", named: "✓ Named", hand: "✎ By hand",
};
const ORDER = Object.keys(STATUS);
const COLUMNS = [
  ["", null],
  ["File", (row) => row.file.toLowerCase()],
  ["Status", (row) => ORDER.indexOf(row.status)],
  ["Name", (row) => row.hand || row.label || ""],
  ["Probability", (row) => row.probability ?? -1],
  ["Runner-up", (row) => row.second || ""],
  ["By hand", (row) => row.hand || ""],
];
let rows = [], labels = [], sorted = null, ascending = true, filter = "all", page = 0;

const plain = (label) => label ? (label[0].toUpperCase() + label.slice(1)).replaceAll("_", " ") : "";
const percent = (share) => share > 0.995 ? "> 99 %" : share < 0.005 ? "< 1 %" : `${Math.round(100 * share)} %`;
const make = (tag, properties = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
};

function visibleRows() {
  const filtered = rows.filter((row) => filter === "all" || row.status === filter);
  if (sorted === null) return filtered;
  const key = COLUMNS[sorted][1];
  return filtered.sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    return (x < y ? -1 : x > y ? 1 : 0) * (ascending ? 1 : -1);
  });
}

function byHand(row) {
  if (row.status === "unreadable") return "";
  const options = [["", "–"], ...labels.map((label) => [label, plain(label)]), ["no_cell", "Not a cell"]];
  const select = make("select", {}, ...options.map(([value, text]) => make("option", { value, textContent: text })));
  select.value = row.hand || "";
  select.setAttribute("aria-label", `Name by hand for ${row.file}`);
  select.addEventListener("change", () => {
    row.hand = select.value;
    row.status = row.hand ? "hand" : row.automatic;
    const line = select.closest("tr");
    fill(line, row, select);
    trigger("correct", { position: row.position, label: row.hand });
    drawTabs();
  });
  return select;
}

function fill(line, row, select) {
  const named = ["named", "check"].includes(row.status);
  const name = row.hand ? (row.hand === "no_cell" ? "Not a cell" : plain(row.hand)) : named ? plain(row.label) : "";
  const picture = row.picture ? make("img", { src: row.picture, alt: "" }) : "";
  const status = make("td", {}, make("span", { className: `bc-status bc-${row.status}`, textContent: STATUS[row.status] }));
  if (row.short) status.append(make("small", { textContent: row.short, title: row.why }));
  const beside = row.status === "unreadable" ? row.why : named ? "" : `most likely: ${plain(row.label)}`;
  line.className = `bc-row-${row.status}`;
  const keep = select ? select.closest("td") : make("td", {}, byHand(row));
  const cells = [
    make("td", { className: "bc-thumb" }, picture),
    make("th", { scope: "row", textContent: row.file, title: row.why || row.file }),
    status,
    make("td", {}, make("b", { textContent: name }), beside ? make("small", { textContent: beside }) : ""),
    make("td", { className: "bc-right", textContent: row.label ? percent(row.probability) : "" }),
    make("td", {}, row.label ? `${plain(row.second)} ` : "", row.label ? make("small", { textContent: percent(row.second_probability) }) : ""),
  ];
  cells.forEach((cell, i) => { if (i) cell.dataset.head = COLUMNS[i][0]; });
  keep.dataset.head = "By hand";
  if (select) {
    [...line.children].forEach((cell) => { if (cell !== keep) cell.remove(); });
    keep.before(...cells);
  } else line.replaceChildren(...cells, keep);
}

function drawTabs() {
  const holder = element.querySelector(".bc-filters");
  const count = (status) => rows.filter((row) => status === "all" || row.status === status).length;
  const names = { all: "All", ...STATUS };
  holder.replaceChildren(...Object.keys(names).filter((key) => key === "all" || key === filter || count(key)).map((key) => {
    const button = make("button", { type: "button", textContent: `${names[key]} ${count(key)}` });
    button.setAttribute("aria-pressed", key === filter);
    button.addEventListener("click", () => { filter = key; page = 0; draw(); element.querySelector(".bc-filters [aria-pressed=true]").focus(); });
    return button;
  }));
}

function draw() {
  const body = element.querySelector("tbody");
  if (!body) return;
  element.querySelector(".bc-slide").hidden = !rows.length;
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
  const [back, range, next] = element.querySelector(".bc-pages").children;
  range.textContent = all.length ? `${page * PAGE + 1} to ${Math.min(all.length, (page + 1) * PAGE)} of ${all.length}` : "none";
  back.disabled = page === 0;
  next.disabled = page >= pages - 1;
  back.parentElement.hidden = pages === 1;
  drawTabs();
}

function build() {
  const heads = COLUMNS.map(([name, key], i) => {
    if (!key) return make("td");  // the picture
    const button = make("button", { type: "button", textContent: name });
    button.addEventListener("click", () => { ascending = sorted === i ? !ascending : i !== 4; sorted = i; page = 0; draw(); });
    return make("th", { scope: "col", className: i === 4 ? "bc-right" : "" }, button);
  });
  const turn = (text, by) => {
    const button = make("button", { type: "button", textContent: text });
    button.addEventListener("click", () => { page += by; draw(); });
    return button;
  };
  element.querySelector(".bc-slide").replaceChildren(
    make("h3", { textContent: "Cells" }),
    make("div", { className: "bc-filters", role: "group", ariaLabel: "Show" }),
    make("div", { className: "bc-scroll" }, make("table", { className: "bc-table bc-cells" }, make("thead", {}, make("tr", {}, ...heads)), make("tbody"))),
    make("div", { className: "bc-pages" }, turn("Back", -1), make("span", { role: "status" }), turn("Next", 1)),
  );
}

function update() {
  const value = typeof props.value === "string" ? JSON.parse(props.value || "{}") : props.value || {};
  rows = value.rows || [];
  labels = value.labels || [];
  if (!value.keep) { sorted = null; ascending = true; filter = "all"; page = 0; }
  build();
  draw();
}
watch("value", update);
update();
