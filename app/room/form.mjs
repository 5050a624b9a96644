// The verdict's form on the page: a draft of the case and label that are shown, and what came of what was sent.

import { Desk } from "./desk.mjs";
import { Fields } from "./fields.mjs";
import { sent } from "./measures.mjs";
import { element } from "./panel.mjs";
import { Reader } from "./reader.mjs";
import { Verdicts } from "./verdict.mjs";

const OVERDUE = 5000; // milliseconds after which what was not answered is sent again
const KEPT_AFTER = 700; // milliseconds
const KINDS = { true: "done", false: "missing", null: "" };
const OTHER_TAB = "You had begun this in another tab as well: its text stands here now, beside yours.";
const NOBODY = "What you begin is kept once you have said who you are.";

export class Form {
  // `say`, `keep` and `read` reach Python: every verdict and every draft that has no answer yet, and who reads.
  constructor(root, room, { say, keep, read }) {
    this.find = (selector) => root.querySelector(selector);
    Object.assign(this, { room, verdicts: new Verdicts(say), desk: new Desk(keep), missed: {}, keeping: new Map() });
    this.headings = new Map(); // of the cases whose verdicts were sent: what is kept of a case may be let go meanwhile
    this.fields = new Fields(root, room.data, (changes) => this.write(changes));
    this.reader = new Reader(root, room.data, { ask: read, refused: (text) => this.miss(text) });
    this.listen();
  }

  // The fields as they were left for this case and label, and what came of the last verdict.
  show() {
    const { at: { record, check }, label, wasShown } = this.room;
    if (record.reader === this.reader.number) {
      this.verdicts.restore(record.key, record.draft);
      this.desk.know(record.reader, record.key, record.draft_version);
    }
    const [draft, said] = [this.verdicts.draft(record.key, label), this.verdicts.said(record.key, label)];
    this.find(".verdict").hidden = check.state === "refused";
    this.find(".claim").textContent = record.labels[label].claim;
    this.fields.show(draft, label, wasShown.has(label));
    this.reader.show();
    const missed = this.missed.here === this.here ? this.missed.text : "";
    this.tell([said?.text, missed].filter(Boolean).join(" "), missed || !said ? "missing" : KINDS[said.saved]);
    this.find(".unkept").textContent = !this.reader.number && Object.keys(this.verdicts.begun(record.key)).length ? NOBODY : "";
    this.mark(record.key);
    for (const button of this.find(".saving").querySelectorAll("button")) button.disabled = this.verdicts.pending(record.key, label);
  }

  // Whether what is begun of a case lies in the store by now.
  mark(key) {
    if (this.room.key !== key) return;
    const waits = this.keeping.has(key) || this.desk.pending(this.reader.number, key) || this.find(".unkept").textContent;
    this.room.section.dataset.draft = waits ? "waiting" : "kept";
  }

  get here() {
    return `${this.reader.number} ${this.room.key} ${this.room.label}`;
  }

  get open() {
    return Boolean(this.room.at) && this.room.at.check.state !== "refused";
  }

  tell(text, kind = "missing") {
    const told = this.find(".told");
    told.textContent = text;
    told.className = `told ${text ? kind : ""}`;
  }

  // What is missing of what is shown, until something of it changes.
  miss(text) {
    this.missed = text ? { here: this.here, text } : {};
    if (this.room.at) this.show();
  }

  write(changes) {
    if (!this.open) return;
    const { key } = this.room.at.record;
    this.missed = {};
    this.verdicts.write(key, this.room.label, changes);
    this.keepSoon(key);
    this.show();
  }

  // A key chooses a verdict; one that wants a reason goes on to it.
  opine(verdict) {
    this.write({ verdict });
    if (this.open && verdict === "skipped") this.fields.into(this.find(".reasons"));
  }

  // A key opens what more there is to say; whoever was in it goes back to the picture.
  more() {
    if (this.open && !this.fields.more()) this.room.back();
  }

  // Save what is said of this case; true where it is on its way.
  save() {
    const { at, label, watch, wasShown, viewer } = this.room;
    if (!this.open || this.verdicts.pending(at.record.key, label)) return false;
    const { key, labels } = at.record;
    const missing = this.verdicts.missing(key, label, this.reader.name);
    if (missing) this.verdicts.forget(key, label);
    this.miss(missing);
    if (missing) return false;
    if (this.keeping.has(key)) this.keep(key); // before the verdict, which ends what was begun
    this.headings.set(key, at.record.heading);
    const { revision, probability } = labels[label];
    this.verdicts.save(key, label, {
      reviewer: this.reader.name, revision, probability, checked: at.check.state === "same",
      seconds_in_view: Math.round(10 * watch.seconds) / 10, heatmap_shown: wasShown.has(label),
      marks: sent(viewer.main.state.marks, label),
    });
    this.show();
    return true;
  }

  // What Python says; true where somebody else reads from now on, and nothing of the reader before may stay.
  hear({ answers, drafts, reader, readers }) {
    for (const { answer, message, reader: whose } of this.verdicts.answered(answers)) {
      if (whose === this.verdicts.reader) this.learn(answer, message);
      else if (!answer.saved) this.before(`A verdict of ${message.reviewer} was not saved. ${answer.said}`, message.key);
    }
    for (const found of this.desk.answered(drafts)) this.kept(found);
    const before = this.reader.number;
    if (reader.number !== before) this.keepNow();
    this.reader.hear(reader, readers);
    if (this.reader.number === before) return false;
    this.missed = {};
    if (before) this.find(".before").replaceChildren();
    this.verdicts.become(this.reader.number);
    if (!before) for (const key of this.verdicts.cases) this.keepSoon(key);
    return before !== "";
  }

  // What came of a draft: another tab of the same reader may have begun the same, and nothing of either is lost.
  kept({ answer, reader, message, again }) {
    const { key } = message;
    if (answer.other) this.verdicts.add(key, JSON.parse(answer.other), reader);
    if (again || answer.other) {
      if (reader === this.reader.number) this.keepSoon(key);
      else this.desk.keep(reader, message.reviewer, key, this.verdicts.begun(key, reader));
    }
    this.mark(key);
    if (answer.kept || reader !== this.reader.number) return;
    if (this.room.at?.record.key === message.key) this.miss(answer.other ? OTHER_TAB : answer.said);
  }

  // What is begun goes to the store a moment after somebody wrote, so that no crash takes it along.
  keepSoon(key) {
    clearTimeout(this.keeping.get(key));
    if (!this.reader.number) return; // the store keeps drafts of readers
    this.keeping.set(key, setTimeout(() => this.keep(key), KEPT_AFTER));
    this.mark(key);
  }

  keep(key) {
    clearTimeout(this.keeping.get(key));
    if (this.verdicts.pending(key)) { // whose answer says what is left of it
      this.keepSoon(key);
      return;
    }
    this.keeping.delete(key);
    this.desk.keep(this.reader.number, this.reader.listed, key, this.verdicts.begun(key));
  }

  // At once, before somebody else reads.
  keepNow() {
    for (const [key, timer] of this.keeping) {
      clearTimeout(timer);
      this.desk.keep(this.reader.number, this.reader.listed, key, this.verdicts.begun(key));
    }
    this.keeping.clear();
  }

  // What came of a verdict: on its own case if that is shown, else in a line that names it.
  learn(answer, { key, label }) {
    this.keepSoon(key);
    const { record } = this.room.feed.now(key);
    if (record?.labels[label] && answer.label) record.labels[label] = answer.label;
    const { at } = this.room;
    if (at?.record.key === key) {
      if (answer.label) at.record.labels[label] = answer.label;
      this.room.refresh();
      return;
    }
    const whose = this.headings.get(key) || "An earlier image";
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
    if (this.desk.overdue(OVERDUE)) this.desk.resend();
    this.reader.beat(OVERDUE);
  }

  listen() {
    this.find(".verdict").addEventListener("submit", (event) => { event.preventDefault(); this.save(); });
    this.find(".onward").addEventListener("click", () => this.save() && this.room.go(1));
  }
}
