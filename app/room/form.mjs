// The verdict's form on the page: a draft of the case and label that are shown, and what came of what was sent.

import { sent } from "./measures.mjs";
import { element } from "./panel.mjs";
import { Verdicts } from "./verdict.mjs";

const OVERDUE = 5000; // milliseconds after which a verdict that was not answered is sent again
const KEPT_AFTER = 700; // milliseconds
const KINDS = { true: "done", false: "missing", null: "" };

export class Form {
  // `say` and `keep` reach Python: every verdict that has no answer yet, and what is begun of a case.
  constructor(root, room, say, keep) {
    this.find = (selector) => root.querySelector(selector);
    Object.assign(this, { keep, room, reviewer: room.data.reviewer, verdicts: new Verdicts(say), missed: {}, keeping: new Map() });
    this.build();
    this.listen();
  }

  // The fields as they were left for this case and label, and what came of the last verdict.
  show() {
    const { at: { record, check }, label } = this.room;
    const here = `${record.key} ${label}`;
    this.verdicts.restore(record.key, record.draft);
    const [draft, said] = [this.verdicts.draft(record.key, label), this.verdicts.said.get(here)];
    this.find(".verdict").hidden = check.state === "refused";
    this.find(".claim").textContent = record.labels[label].claim;
    for (const choice of this.find(".opinions").querySelectorAll("input")) choice.checked = choice.value === draft.verdict;
    for (const [name, value] of [["comment", draft.comment], ["reviewer", this.reviewer]]) {
      const field = this.find(`.${name}`);
      if (field.value !== value) field.value = value;
    }
    if (this.missed.here === here) this.tell(this.missed.text);
    else this.tell(said?.text ?? "", said ? KINDS[said.saved] : "");
    for (const button of this.find(".saving").querySelectorAll("button")) button.disabled = this.verdicts.pending(record.key, label);
  }

  tell(text, kind = "missing") {
    const told = this.find(".told");
    told.textContent = text;
    told.className = `told ${text ? kind : ""}`;
  }

  opine(verdict) {
    const { at, label } = this.room;
    if (!at || at.check.state === "refused") return;
    this.missed = {};
    this.verdicts.write(at.record.key, label, { verdict });
    this.keepSoon(at.record.key);
    this.show();
  }

  // Save what is said of this case; true where it is on its way.
  save() {
    const { at, label, watch, wasShown, viewer } = this.room;
    if (!at || at.check.state === "refused" || this.verdicts.pending(at.record.key, label)) return false;
    const { key, labels } = at.record;
    const missing = this.verdicts.missing(key, label, this.reviewer);
    this.missed = missing ? { here: `${key} ${label}`, text: missing } : {};
    if (missing) {
      this.tell(missing);
      return false;
    }
    const { revision, probability } = labels[label];
    this.verdicts.save(key, label, {
      reviewer: this.reviewer, revision, probability, checked: at.check.state === "same",
      seconds_in_view: Math.round(10 * watch.seconds) / 10, heatmap_shown: wasShown.has(label),
      marks: sent(viewer.main.state.marks, label),
    });
    this.show();
    return true;
  }

  hear(answers) {
    for (const { answer, message } of this.verdicts.answered(answers)) {
      if (answer.saved) this.keepSoon(message.key);
      this.learn(answer, message);
    }
  }

  // What is begun goes to the store a moment after somebody wrote, so that no crash takes it along.
  keepSoon(key) {
    clearTimeout(this.keeping.get(key));
    this.keeping.set(key, setTimeout(() => {
      this.keep({ key, reviewer: this.reviewer, content: JSON.stringify(this.verdicts.begun(key)) });
    }, KEPT_AFTER));
  }

  // What came of a verdict: on its own case if that is shown, else in a line that names it.
  learn(answer, { key, label }) {
    const record = this.room.feed.records.now(key);
    if (record?.labels[label] && answer.label) record.labels[label] = answer.label;
    const { at } = this.room;
    if (at?.record.key === key) {
      if (answer.label) at.record.labels[label] = answer.label;
      this.room.refresh();
      return;
    }
    const whose = record?.heading || "An earlier image";
    this.before(answer.saved ? `${whose}: ${answer.said}` : `${whose}: not saved. ${answer.said}`, answer.saved ? null : key);
  }

  before(text, key) {
    const line = this.find(".before");
    line.replaceChildren(element("span", "", text));
    line.classList.toggle("unsaved", Boolean(key));
    if (!key) return;
    const button = Object.assign(element("button", "", "Go back to it"), { type: "button" });
    button.addEventListener("click", () => { line.replaceChildren(); this.room.open(key); });
    line.append(button);
  }

  // Every moment: what was not answered for long may have been lost.
  beat() {
    if (this.verdicts.overdue(OVERDUE)) this.verdicts.resend();
  }

  build() {
    const { opinions, longest } = this.room.data;
    this.find(".opinions").append(...opinions.map(([value, words]) => {
      const choice = element("label", "opinion");
      const input = Object.assign(document.createElement("input"), { type: "radio", name: "verdict", value });
      input.setAttribute("aria-keyshortcuts", value[0].toUpperCase());
      choice.append(input, words);
      return choice;
    }));
    this.find(".reviewer").maxLength = longest.reviewer;
  }

  listen() {
    const on = (selector, kind, action) => this.find(selector).addEventListener(kind, action);
    on(".opinions", "change", ({ target }) => this.opine(target.value));
    on(".comment", "input", ({ target }) => {
      const { at, label } = this.room;
      if (!at) return;
      this.verdicts.write(at.record.key, label, { comment: target.value });
      this.keepSoon(at.record.key);
    });
    on(".reviewer", "input", ({ target }) => { this.reviewer = target.value; });
    on(".verdict", "submit", (event) => { event.preventDefault(); this.save(); });
    on(".onward", "click", () => this.save() && this.room.go(1));
  }
}
