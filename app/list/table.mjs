// The worklist as a real table, of which only what is in view is built. Every text is set as text, never as HTML.

import { applied, chosen, counted, disagreed, items, noCells, ranges, read, undated, written } from "./criteria.mjs";
import { Filters } from "./filters.mjs";
import { scrolledTo, span, suffices } from "./span.mjs";

const SAID = { agree: "✓ Agree", disagree: "✗ Disagree", unsure: "? Unsure", own: "Own grade", skipped: "Skipped" };
const ASKED_EVERY = 15_000; // milliseconds, for what others have said meanwhile
const ADDRESS_EVERY = 1000; // milliseconds: Streamlit writes the address as well, at moments of its own
const PARAMETER = "list"; // of the address
const DOWN_FIRST = ["score", "date"]; // the highest and the newest come first
const EMPTY = {
  all: "No image of this folder could be scored.",
  unread: "Every image has a verdict of yours. Choose “All” to see them.",
  mine: "You have judged no image yet.",
  disagreed: "Of no image that you have judged somebody says something else.",
  look: "No image asks for a closer look.",
  above: "No image lies at or above the operating point.",
};
const left = { criteria: null, scrolled: 0, key: "" }; // how the list was left, for whoever comes back from a case

function element(kind, className, ...children) {
  const made = document.createElement(kind);
  if (className) made.className = className;
  made.append(...children.filter((child) => child !== null && child !== ""));
  return made;
}

export class Table {
  constructor(root, feed, opened) {
    [this.root, this.feed] = [root, feed];
    this.opened = (key, rows) => {
      left.key = key;
      opened(key, rows);
    };
    this.criteria = left.criteria ?? read(new URLSearchParams(location.search).get(PARAMETER) ?? "");
    this.find = (selector) => root.querySelector(selector);
    this.pane = this.find(".pane");
    this.filters = new Filters(root, (asked) => this.change(asked));
    this.listen();
  }

  listen() {
    this.pane.addEventListener("scroll", () => this.scrolled());
    this.pane.addEventListener("keydown", (event) => this.key(event));
    for (const button of this.root.querySelectorAll("button.sort")) {
      button.addEventListener("click", () => {
        const { sort } = button.dataset;
        const down = this.criteria.sort === sort ? !this.criteria.down : DOWN_FIRST.includes(sort);
        this.change({ sort, down });
      });
    }
    this.waiting = setInterval(() => {
      if (document.visibilityState === "visible" && this.data) this.refresh().catch(() => {});
    }, ASKED_EVERY);
    this.keeping = setInterval(() => this.data && this.address(), ADDRESS_EVERY);
    this.resized = new ResizeObserver(() => this.columns && this.build());
    this.resized.observe(this.pane);
  }

  close() {
    clearInterval(this.waiting);
    clearInterval(this.keeping);
    this.resized.disconnect();
  }

  // Show what Streamlit gives: {hash, label, reader}; nothing is shown before what was said is known.
  async show(data) {
    const began = performance.now();
    const wanted = JSON.stringify(data);
    this.wanted = wanted;
    const [columns, updates] = await Promise.all([this.feed.columns(data.hash), this.feed.updates(data.hash, data.reader)]);
    if (this.wanted !== wanted) return; // another label was chosen meanwhile
    const first = this.columns !== columns;
    Object.assign(this, { data, columns, updates });
    if (first) this.fillIn();
    this.arrange();
    if (first) this.comeBack();
    this.address();
    this.root.dataset.ready = data.hash;
    this.root.dataset.shown = String(Math.round(performance.now() - began));
  }

  // Where the list was left: the case that was opened has the focus, and lies in view also where a notice is above.
  comeBack() {
    this.pane.scrollTop = left.scrolled;
    if (!suffices(this.built, this.where())) this.build();
    const row = [...this.root.querySelectorAll("tr[data-key]")].find(({ dataset }) => dataset.key === left.key);
    row?.querySelector("button").focus();
    left.key = "";
  }

  async refresh() {
    const { data } = this;
    const before = this.updates.length;
    const updates = await this.feed.updates(data.hash, data.reader);
    if (this.data === data && (updates !== this.updates || updates.length !== before)) {
      this.updates = updates;
      this.arrange();
    }
  }

  // What is the same for every label and filter.
  fillIn() {
    this.filters.fillIn(this.columns, this.criteria);
    this.root.classList.toggle("dated", this.columns.date.some(Boolean));
    this.root.classList.toggle("several", this.columns.folders.length > 1);
    this.unscored();
  }

  unscored() {
    const { unscored: groups, folders } = this.columns;
    const where = ({ folder }) => (folders.length > 1 ? ` in ${folders[folder]}` : "");
    const of = (status) => groups.filter((group) => group.status === status).reduce((sum, { rows }) => sum + rows.length, 0);
    const counts = ["refused", "duplicate", "gone"].map((status) => [of(status), status]).filter(([count]) => count);
    this.find(".unscored").hidden = !counts.length;
    this.find(".unscored summary").textContent = `Files not in this list: ${counts.map(([count, status]) => `${count} ${status}`).join(", ")}`;
    this.find(".reasons").replaceChildren(...groups.map((group) => element(
      "details", "reason",
      element("summary", "", `${group.rows.length} ${group.status}${where(group)}: `, element("span", "", group.reason)),
      element("p", "minor", `Rows ${ranges(group.rows)}`),
    )));
  }

  change(criteria) {
    this.criteria = { ...this.criteria, ...criteria };
    left.criteria = this.criteria;
    this.address();
    if (!this.columns) return;
    this.pane.scrollTop = 0;
    this.arrange();
  }

  // The address says what is shown, for a reload; Streamlit leaves out of it what Python does not know.
  address() {
    const place = new URL(location.href);
    const text = written(this.criteria);
    if (text) place.searchParams.set(PARAMETER, text);
    else place.searchParams.delete(PARAMETER);
    if (place.href !== location.href) history.replaceState(history.state, "", place);
  }

  // Filter, sort and count anew.
  arrange() {
    const began = performance.now();
    const { columns, criteria } = this;
    this.label = this.data.label;
    this.cells = this.updates.reduce((cells, update) => applied(cells, update, this.label), noCells(columns.key.length));
    this.rows = chosen(columns, this.label, this.cells, criteria);
    this.items = items(this.rows, columns, criteria.studies);
    this.summary();
    const { label, point } = columns.labels[this.label];
    this.find(".score-head button").textContent = `${label} (│ operating point ${point})`;
    for (const head of this.root.querySelectorAll("th[data-sort]")) {
      const sorted = head.dataset.sort === criteria.sort;
      if (sorted) head.setAttribute("aria-sort", criteria.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
    this.find("table").setAttribute("aria-rowcount", String(this.items.length + 1));
    const { search, view, side, from, to, folder } = criteria;
    this.find(".empty").textContent = search || view || side || from || to || folder ? "No image fits all of what is asked." : EMPTY[criteria.show];
    this.find(".empty").hidden = this.items.length > 0;
    this.built = null;
    this.build();
    this.root.dataset.took = String(Math.round(performance.now() - began));
  }

  summary() {
    const { images, above, look, mine } = counted(this.columns, this.label, this.cells);
    const { label } = this.columns.labels[this.label];
    const strong = (number) => element("b", "", String(number));
    const shown = this.rows.length < images ? [" · ", strong(this.rows.length), " shown"] : [];
    const lacking = undated(this.columns, this.criteria);
    if (lacking) shown.push(" · ", strong(lacking), " without a date, not shown");
    this.find(".summary").replaceChildren(
      strong(images), " images · ", strong(above), ` at or above the operating point for ${label} · `, strong(look),
      " need a look · ", strong(mine), this.data.reader ? " reviewed by you" : " reviewed", ...shown,
    );
  }

  where() {
    const height = parseFloat(getComputedStyle(this.pane).getPropertyValue("--row"));
    return { scrolled: this.pane.scrollTop, pane: this.pane.clientHeight, height, count: this.items.length };
  }

  scrolled() {
    if (!this.columns) return;
    left.scrolled = this.pane.scrollTop;
    if (!suffices(this.built, this.where())) this.build();
  }

  build() {
    const place = this.where();
    const built = span(place);
    const focused = this.root.getRootNode().activeElement?.closest?.("tr[data-item]")?.dataset.item;
    const rows = this.items.slice(built.first, built.end).map((item, number) => this.row(item, built.first + number));
    this.find("tbody").replaceChildren(
      this.space(built.first * place.height), ...rows, this.space((this.items.length - built.end) * place.height),
    );
    this.built = built;
    if (focused !== undefined) this.find(`tr[data-item="${focused}"] button`)?.focus({ preventScroll: true });
  }

  // How many columns are shown.
  wide() {
    return 5 + ["dated", "several"].filter((name) => this.root.classList.contains(name)).length;
  }

  space(height) {
    const cell = element("td");
    cell.colSpan = this.wide();
    cell.style.height = `${height}px`;
    const made = element("tr", "space", cell);
    made.setAttribute("aria-hidden", "true");
    made.hidden = height === 0;
    return made;
  }

  row(item, number) {
    const made = item.rows ? this.study(item) : this.image(item.row);
    made.dataset.item = String(number);
    made.setAttribute("aria-rowindex", String(number + 2));
    return made;
  }

  study({ rows }) {
    const { columns } = this;
    const views = rows.map((row) => [columns.view[row] || "view not stated", columns.side[row]].filter(Boolean).join(" ")).join(", ");
    const count = rows.length > 1 ? `${rows.length} images` : "1 image";
    const date = columns.date[rows[0]];
    const cell = element("td", "", `Study of ${columns.patient[rows[0]]}${date && `, ${date}`}: ${count} (${views})`);
    cell.colSpan = this.wide();
    return element("tr", "study", cell);
  }

  image(row) {
    const { columns, cells } = this;
    const { probability, threshold, shown, positive } = columns.labels[this.label];
    const button = element("button", "open", columns.patient[row]);
    button.type = "button";
    const [fill, point] = [element("i"), element("b")];
    fill.style.width = `${100 * probability[row]}%`;
    point.style.left = `${100 * threshold}%`;
    const score = element("div", "score", shown[row], element("div", "bar", fill, point));
    const made = element(
      "tr", positive[row] ? "above" : "",
      element("td", "", button, columns.image[row] && element("div", "minor", columns.image[row])),
      element("td", "date", columns.date[row] || "–"),
      element("td", "view", columns.view[row] || "–", columns.side[row] && element("div", "minor", columns.side[row])),
      element("td", "folder", columns.folders[columns.folder[row]]),
      element("td", "score-cell", score),
      element("td", "", element("div", "call", columns.calls[positive[row]]), columns.review[row] && this.look(columns.review[row])),
      element("td", "verdict", ...this.verdicts(row)),
    );
    if (disagreed(cells, row)) made.classList.add("disagreed");
    made.dataset.key = columns.key[row];
    made.addEventListener("click", () => this.opened(columns.key[row], this.rows));
    return made;
  }

  look(text) {
    const made = element("div", "minor look", text);
    made.title = text;
    return made;
  }

  verdicts(row) {
    const mine = this.cells.mine[row];
    const [others, hidden] = [this.cells.others[row], this.cells.hidden[row]];
    const found = [element("div", "", mine ? SAID[mine] : "–")];
    if (others) {
      const text = others.map(([name, verdict]) => `${name}: ${SAID[verdict]}`).join(", ");
      found.push(Object.assign(element("div", "minor", text), { title: text }));
    } else if (hidden) {
      found.push(element("div", "minor", hidden > 1 ? `${hidden} other readers` : "1 other reader"));
    }
    return found;
  }

  key(event) {
    const at = event.target.closest?.("tr[data-item]");
    if (!at) return;
    const number = Number(at.dataset.item);
    const page = Math.max(1, Math.floor(this.pane.clientHeight / this.where().height) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -number, End: this.items.length - 1 - number };
    if (!(event.key in steps)) return;
    event.preventDefault();
    this.focus(number + steps[event.key], Math.sign(steps[event.key]) || 1);
  }

  // The image at a place of the list, or the next one in a direction, past the heads of studies.
  focus(number, direction) {
    let place = Math.min(Math.max(number, 0), this.items.length - 1);
    while (this.items[place]?.rows) place += direction;
    if (!this.items[place]) return;
    this.pane.scrollTop = scrolledTo(place, this.where());
    if (!suffices(this.built, this.where())) this.build();
    this.find(`tr[data-item="${place}"] button`)?.focus({ preventScroll: true });
  }
}
