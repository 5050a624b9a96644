// What a reader chooses above the list: which rows are shown. Every text is set as text, never as HTML.

import { NOT_STATED, day } from "./criteria.mjs";

export class Filters {
  // Listens in `root`; `changed` is told what is asked for now, as a part of the criteria.
  constructor(root, changed) {
    this.root = root;
    this.find = (selector) => root.querySelector(selector);
    this.changed = changed;
    const told = (selector, event, said) => this.find(selector).addEventListener(event, ({ target }) => changed(said(target)));
    told(".search", "input", ({ value }) => ({ search: value }));
    told(".views", "change", ({ value }) => ({ view: value }));
    told(".sides", "change", ({ value }) => ({ side: value }));
    told(".folders", "change", ({ value }) => ({ folder: value }));
    told(".studies", "change", ({ checked }) => ({ studies: checked }));
    for (const name of ["from", "to"]) this.find(`.${name}`).addEventListener("input", ({ target }) => this.date(name, target));
    for (const radio of root.querySelectorAll("input[name=show]")) {
      radio.addEventListener("change", () => changed({ show: radio.value }));
    }
  }

  // A date counts once it is one; what is not is said, and until then asks for nothing.
  date(name, field) {
    const found = day(field.value);
    field.setAttribute("aria-invalid", String(found === null));
    this.find(".no-date").hidden = !this.find("[aria-invalid=true]");
    this.changed({ [name]: found ?? "" });
  }

  // What there is to choose from, and what is chosen.
  fillIn(columns, criteria) {
    this.choices(".views", "All views", columns.view, criteria.view);
    this.choices(".sides", "All sides", columns.side, criteria.side);
    this.choices(".folders", "All folders", columns.folders, criteria.folder);
    this.find(".folders").closest(".field").hidden = columns.folders.length < 2;
    this.find(".dates").hidden = !columns.date.some(Boolean);
    for (const name of ["search", "from", "to"]) this.find(`.${name}`).value = criteria[name];
    this.find(".studies").checked = criteria.studies;
    for (const radio of this.root.querySelectorAll("input[name=show]")) radio.checked = radio.value === criteria.show;
  }

  // The values that a column has; hidden where there is one, unless it is asked for.
  choices(selector, all, column, chosen) {
    const values = [...new Set(column)].sort();
    const made = [["", all], ...values.filter(Boolean).map((value) => [value, value])];
    if (values.includes("")) made.push([NOT_STATED, "not stated"]);
    const field = this.find(selector);
    field.replaceChildren(...made.map(([value, text]) => {
      const option = document.createElement("option");
      return Object.assign(option, { value, textContent: text });
    }));
    field.value = chosen;
    field.disabled = values.length < 2;
    field.closest(".field").hidden = values.length < 2 && values[0] === "";
  }
}
