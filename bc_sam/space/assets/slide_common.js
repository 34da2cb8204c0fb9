// What the table of cells and the fields have in common; it precedes either script.
const STATUS = {
  blast: "● Perhaps a blast", review: "⚠ For review", check: "? Check name", unreadable: "✕ Unreadable", named: "✓ Named",
  hand: "✎ By hand",
};
const NO_CELL = "no_cell";
let rows = [], kinds = [], parents = [];

const plain = (label) => ([...kinds, ...parents].find(([kind]) => kind === label) || [label, label])[1];
const make = (tag, properties = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
};
const isNamed = (row) => ["named", "check"].includes(row.status);
// A cell that a person added to a field and took back.
const isWithdrawn = (row) => Boolean(row.added) && row.hand === NO_CELL;
// Names by the keys 1 to 9, in the order of the list of kinds.
const kindOfKey = (event) =>
  /^[1-9]$/.test(event.key) && !event.ctrlKey && !event.metaKey && !event.altKey ? kinds[event.key - 1]?.[0] : null;
