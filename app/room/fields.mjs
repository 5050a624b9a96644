// What a reader can say of a label, as the fields of the form: they show a draft, and tell what changes of it.

import { element } from "./panel.mjs";
import { readable } from "./text.mjs";

const MORE = "medres-more"; // whether somebody likes "More" open: of the browser, and nothing of a patient

export class Fields {
  // `changed` is told of what is chosen or written: {verdict, …}.
  constructor(root, data, changed) {
    this.find = (selector) => root.querySelector(selector);
    Object.assign(this, { data, changed, open: false, skipped: false });
    this.build();
    this.listen();
  }

  // A draft of a label; the heatmap is asked about where it was before the reader's eyes.
  show(draft, label, heatmapShown) {
    this.label = label;
    this.grades(this.data.grades[label] ?? []);
    const value = draft.verdict === "own" ? `own ${draft.grade}` : draft.verdict;
    for (const input of this.find(".opinions").querySelectorAll("input")) input.checked = input.value === value;
    this.check(".reasons", draft.skip_reason);
    this.check(".confidence", String(draft.confidence));
    this.check(".helpfulness", draft.heatmap);
    for (const name of ["comment", "corrected_label"]) {
      const field = this.find(`.${name}`);
      if (field.value !== draft[name]) field.value = draft[name];
    }
    this.find(".reasons").hidden = draft.verdict !== "skipped";
    this.find(".corrected").hidden = draft.verdict !== "disagree";
    this.find(".helpfulness").hidden = !heatmapShown;
    this.skipped = draft.verdict === "skipped";
    this.fold();
    const others = this.data.labels.filter((other) => other !== label).map(readable);
    const known = this.find(".known-labels");
    if (others.join("\n") !== [...known.options].map(({ value: text }) => text).join("\n")) {
      known.replaceChildren(...others.map((text) => Object.assign(document.createElement("option"), { value: text })));
    }
  }

  // Open what more there is to say and go to its first field; back, and false, where somebody is in it.
  more() {
    if (this.skipped) return false;
    const more = this.find(".more");
    const inside = this.open && more.contains(more.getRootNode().activeElement);
    this.unfold(!inside);
    if (!inside) this.into(more);
    return !inside;
  }

  unfold(open) {
    this.open = open;
    this.fold();
    try {
      localStorage.setItem(MORE, open ? "open" : "closed");
    } catch { /* a browser that keeps nothing */ }
  }

  fold() {
    this.find(".more").hidden = this.skipped || !this.open;
    this.find(".say-more").hidden = this.skipped;
    this.find(".say-more").setAttribute("aria-expanded", String(this.open));
  }

  into(part) {
    (part.querySelector("input:checked") ?? part.querySelector("input")).focus();
  }

  check(selector, value) {
    for (const input of this.find(selector).querySelectorAll("input")) input.checked = input.value === value;
  }

  grades(values) {
    const group = this.find(".grades");
    group.hidden = !values.length;
    if (this.shown === values.join("\n")) return;
    this.shown = values.join("\n");
    group.querySelector("span").replaceChildren(...values.map((grade) => choice("verdict", `own ${grade}`, grade, "")));
  }

  build() {
    const { opinions, skip, reasons, confidences, helpfulness, longest } = this.data;
    const of = (name, values) => values.map(([value, words]) => choice(name, String(value), words, ""));
    this.find(".opinions .said").append(...opinions.map(([value, words]) => choice("verdict", value, words, value[0].toUpperCase())));
    this.find(".opinions .said").append(choice("verdict", "skipped", skip, "/"));
    this.find(".reasons").append(...of("skip_reason", reasons.map((reason) => [reason, reason])));
    this.find(".confidence span").append(...of("confidence", confidences));
    this.find(".helpfulness span").append(...of("heatmap", helpfulness));
    this.find(".corrected_label").maxLength = longest.label;
    try {
      this.open = localStorage.getItem(MORE) === "open";
    } catch { /* a browser that keeps nothing */ }
  }

  listen() {
    const on = (selector, kind, action) => this.find(selector).addEventListener(kind, action);
    on(".opinions", "change", ({ target }) => this.changed(opinion(target.value)));
    on(".reasons", "change", ({ target }) => this.changed({ skip_reason: target.value }));
    on(".confidence", "change", ({ target }) => this.changed({ confidence: Number(target.value) }));
    on(".helpfulness", "change", ({ target }) => this.changed({ heatmap: target.value }));
    for (const name of ["comment", "corrected_label"]) on(`.${name}`, "input", ({ target }) => this.changed({ [name]: target.value }));
    on(".say-more", "click", () => this.unfold(!this.open));
  }
}

// The verdict that a choice stands for: a grade is one of its own.
function opinion(value) {
  return value.startsWith("own ") ? { verdict: "own", grade: value.slice(4) } : { verdict: value };
}

function choice(name, value, words, key) {
  const made = element("label", "opinion");
  const input = Object.assign(document.createElement("input"), { type: "radio", name, value });
  if (key) input.setAttribute("aria-keyshortcuts", key);
  made.append(input, words);
  return made;
}
