// What a worklist shows and in which order: kept in the address, so that whoever comes back finds the same. Pure.

export const SHOWN = ["all", "unread", "mine", "disagreed", "look", "above"];
export const SORTS = ["score", "patient", "date", "view", "folder", "verdict", "file"];
export const NOT_STATED = "-"; // of a view or a side: no code is that

export const DEFAULT = {
  show: "all", sort: "score", down: true, view: "", side: "", from: "", to: "", folder: "", search: "",
  studies: false,
};

// Criteria as the text of an address; what is as it always is, is left out.
export function written(criteria) {
  const said = new URLSearchParams();
  for (const [name, value] of Object.entries(criteria)) if (value !== DEFAULT[name]) said.set(name, String(value));
  return said.toString();
}

// The criteria that a text of an address names; what it does not, or names wrongly, is as it always is.
export function read(text) {
  const said = new URLSearchParams(text);
  const known = (name, values) => (values.includes(said.get(name)) ? said.get(name) : DEFAULT[name]);
  return {
    show: known("show", SHOWN),
    sort: known("sort", SORTS),
    down: known("down", ["true", "false"]) === "false" ? false : DEFAULT.down,
    view: said.get("view") ?? "",
    side: said.get("side") ?? "",
    folder: said.get("folder") ?? "",
    from: day(said.get("from") ?? "") ?? "",
    to: day(said.get("to") ?? "") ?? "",
    search: (said.get("search") ?? "").slice(0, 200),
    studies: said.get("studies") === "true",
  };
}

// A year, a month or a day as 2026, 2026-11 or 2026-11-27, also of 20261127; null of what is none of them.
export function day(text) {
  const said = text.trim();
  const [whole, year, month, date] = /^(\d{4})(?:-?(\d\d)(?:-?(\d\d))?)?$/.exec(said) ?? [];
  if (whole === undefined) return said === "" ? "" : null;
  const found = [year, month, date].filter(Boolean).join("-");
  const time = Date.parse(found);
  return !Number.isNaN(time) && new Date(time).toISOString().startsWith(found) ? found : null;
}

// Whether a day lies between two that may be months or years, both included; one that is not known lies nowhere.
function within(date, from, to) {
  return (!from && !to) || (date !== "" && date >= from && (!to || date.slice(0, to.length) <= to));
}

function fits(wanted, said) {
  return !wanted || said === (wanted === NOT_STATED ? "" : wanted);
}

// What one reader sees of a label of each row: their own verdict, others' verdicts, how many are hidden.
export function noCells(rows) {
  return { mine: new Array(rows).fill(""), others: new Array(rows).fill(null), hidden: new Uint16Array(rows) };
}

// Whether two who judged a row said different things; who skipped it said nothing.
export function disagreed(cells, row) {
  const said = [cells.mine[row], ...(cells.others[row] ?? []).map(([, verdict]) => verdict)];
  return new Set(said.filter((verdict) => verdict && verdict !== "skipped")).size > 1;
}

// The numbers of the rows that are shown, in order.
export function chosen(columns, label, cells, criteria) {
  const wanted = {
    all: () => true,
    unread: (row) => !cells.mine[row],
    mine: (row) => Boolean(cells.mine[row]),
    disagreed: (row) => disagreed(cells, row),
    look: (row) => columns.review[row] !== "",
    above: (row) => columns.labels[label].positive[row] === 1,
  }[criteria.show];
  const sought = criteria.search.trim().toLowerCase();
  const rows = [];
  for (let row = 0; row < columns.key.length; row += 1) {
    if (!wanted(row) || !fits(criteria.view, columns.view[row]) || !fits(criteria.side, columns.side[row])) continue;
    if (!fits(criteria.folder, columns.folders[columns.folder[row]])) continue;
    if (!within(columns.date[row], criteria.from, criteria.to)) continue;
    if (!sought || columns.patient[row].toLowerCase().includes(sought)) rows.push(row);
  }
  return ordered(rows, compared(columns, label, cells, criteria.sort), criteria.down);
}

// Equal rows stay in the order of the table, whichever way is up.
function ordered(rows, compare, down) {
  return rows.sort((one, other) => (down ? -compare(one, other) : compare(one, other)) || one - other);
}

function compared(columns, label, cells, sort) {
  const { probability } = columns.labels[label];
  const by = (texts) => (one, other) => (texts[one] < texts[other] ? -1 : Number(texts[one] > texts[other]));
  const texts = { patient: columns.patient, date: columns.date, verdict: cells.mine }[sort];
  if (texts) return by(texts);
  if (sort === "view") {
    const [view, side] = [by(columns.view), by(columns.side)];
    return (one, other) => view(one, other) || side(one, other);
  }
  if (sort === "folder") return (one, other) => columns.folder[one] - columns.folder[other];
  return sort === "file" ? (one, other) => one - other : (one, other) => probability[one] - probability[other];
}

// Rows as items of a list: {row}, or with studies each study's rows together behind {study, rows}, a study where its
// first row is.
export function items(rows, columns, studies) {
  if (!studies) return rows.map((row) => ({ row }));
  const together = new Map();
  for (const row of rows) {
    const study = columns.study[row];
    if (!together.has(study)) together.set(study, []);
    together.get(study).push(row);
  }
  return [...together].flatMap(([study, found]) => [{ study, rows: found }, ...found.map((row) => ({ row }))]);
}

// The cells of one label, changed by an update: {cells: [{row, label, mine, others, hidden}]}.
export function applied(cells, update, label) {
  for (const cell of update.cells) {
    if (cell.label !== label) continue;
    cells.mine[cell.row] = cell.mine;
    cells.others[cell.row] = cell.others.length ? cell.others : null;
    cells.hidden[cell.row] = cell.hidden;
  }
  return cells;
}

// How many rows there are, lie at or above the operating point, need a look, and were judged by the reader.
export function counted(columns, label, cells) {
  const sum = (numbers) => numbers.reduce((one, other) => one + other, 0);
  return {
    images: columns.key.length,
    above: sum(columns.labels[label].positive),
    look: columns.review.filter(Boolean).length,
    mine: cells.mine.filter(Boolean).length,
  };
}

// How many rows have no date, where dates are asked for: these are not shown, and somebody may look for them.
export function undated(columns, { from, to }) {
  return from || to ? columns.date.filter((date) => !date).length : 0;
}

// Row numbers in ascending order as few words: 2, 5–9, 12.
export function ranges(numbers) {
  const parts = [];
  for (let from = 0; from < numbers.length;) {
    let to = from;
    while (numbers[to + 1] === numbers[to] + 1) to += 1;
    parts.push(to > from + 1 ? `${numbers[from]}–${numbers[to]}` : numbers.slice(from, to + 1).join(", "));
    from = to + 1;
  }
  return parts.join(", ");
}
