// The page of one case: picture, score, evidence and verdict change together, and nothing of another case ever stays.

import { Feed, Refusal } from "./feed.mjs";
import { Form } from "./form.mjs";
import { hasSpread, ownMaps, shownMap } from "./maps.mjs";
import { ROOM_KEYS, press } from "./keys.mjs";
import { Panel, element } from "./panel.mjs";
import { KEYS } from "./tools.mjs";
import { readable, readableAll } from "./text.mjs";
import { Stopwatch } from "./verdict.mjs";
import { Viewer } from "./viewer.mjs";

const BEAT = 1500; // milliseconds between two questions whether the server is there
const GONE = 200; // milliseconds after which leaving has been sent
const ASK_AGAIN = 700; // milliseconds between two questions whether a score was computed again
const LOST = "The review app does not answer any more: nothing can be saved. Start it again with medres app; this page cannot go on.";
const LATE = "The review app does not answer at the moment: it may be busy. What is saved now may take a while.";
const NOT_THERE = "The picture did not come. Is the review app still running? Start it again with medres app.";
const WAITING = { state: "waiting", text: "", maps: {} };
const READY = { waiting: "Reading the image …", failed: "" };

export class Room {
  // What reaches Python: `say` verdicts, `keep` drafts, `read` who reads, `leave` the label that was looked at last.
  constructor(root, data, { leave, ...others }) {
    this.find = (selector) => root.querySelector(selector);
    this.section = this.find(".room");
    Object.assign(this, { data, colours: data.colours, label: data.label, leaving: false });
    this.leave = () => { this.leaving = true; leave(this.label); setTimeout(() => this.address(), GONE); };
    this.feed = new Feed(document.baseURI, data.colours);
    this.form = new Form(root, this, others);
    this.watch = new Stopwatch();
    this.panel = new Panel(root, data.points);
    this.viewer = new Viewer(root, this);
    this.key = ""; // of the case that is wanted
    this.at = null; // {record, picture, check, others}: the case that is shown
    this.method = data.methods[0];
    this.part = "mean";
    this.late = 0; // beats in a row that were not answered in time
    this.wasShown = new Set(); // labels whose heatmap was drawn since the case was opened
    this.lookedAgain = new Set(); // cases whose score was not reproduced, and that were looked at since
    this.build();
    this.listen();
    this.heart = setInterval(() => this.beat(), BEAT);
  }

  // What Python says; a case only where it is another one than Python said before.
  hear(data) {
    const other = data.case !== this.heard;
    this.heard = data.case;
    this.data = data;
    const before = this.feed.reader;
    this.feed.reader = data.reader.number;
    const another = this.form.hear(readableAll({ answers: data.answers, drafts: data.drafts, reader: data.reader, readers: data.readers }));
    if (other && data.case !== this.key) this.open(data.case);
    else if (another) {
      this.clear("waiting"); // nothing that the reader before was shown, or drew, stays
      this.open(this.key);
    }
    else if (before !== this.feed.reader) this.renew(this.key);
    this.address();
  }

  get place() {
    return this.data.sequence.indexOf(this.key);
  }

  beside(steps) {
    return steps.map((step) => this.data.sequence[this.place + step]).filter(Boolean);
  }

  go(step) {
    const [next] = this.place < 0 ? [] : this.beside([step]);
    if (next) this.open(next);
  }

  // Show a case: at once where everything of it is there, else nothing until it is.
  async open(key) {
    Object.assign(this, { key, leaving: false });
    const there = this.feed.now(key);
    if (there.record && there.picture && !there.record.fault) this.meet(key, there.record, there.picture);
    else {
      this.clear("waiting");
      await this.bring(key, Boolean(there.record?.fault)); // what was wrong may have been mended
    }
    if (this.key !== key || this.leaving) return;
    this.address();
    this.renew(key);
    this.check(key);
    await this.feed.prefetch(this.beside([1, 2, -1, -2]));
  }

  async bring(key, fresh = false) {
    let record = null;
    try {
      const coming = this.feed.record(key, fresh);
      const early = async (picture) => {
        record = await coming.catch(() => null); // what is wrong is said below
        if (record && this.key === key && !this.at && !record.fault) this.meet(key, record, picture, true);
      };
      coming.catch(() => {});
      const picture = this.feed.picture(key, early);
      picture.catch(() => {});
      record = await coming;
      if (record.fault) {
        if (this.key === key) this.meet(key, record, null);
        return;
      }
      const whole = await picture;
      if (this.key === key) this.meet(key, record, whole);
    } catch (error) {
      const said = error instanceof Refusal && error.message ? error.message : NOT_THERE;
      if (this.key === key) this.meet(key, { ...(record ?? { key, heading: "", review: [], warnings: [], labels: {}, views: [] }), fault: said }, null);
    }
  }

  // Everything of a case, in one moment; `early`: a smaller picture, which a better one will follow.
  meet(key, record, picture, early = false) {
    const same = this.at?.record.key === key && Boolean(this.at.picture);
    if (record.fault) {
      this.clear("failed", record);
      return;
    }
    if (!same) {
      this.watch.reset();
      this.wasShown.clear();
      if (!document.hidden) this.watch.start();
      this.at = { record, picture, check: WAITING, others: new Map() };
    } else Object.assign(this.at, { record, picture });
    this.state("", record);
    this.viewer.meet(picture, this.explained(), same);
    this.describe();
    if (!same) this.focus();
    if (!early) this.section.dataset.ready = `${key} ${this.label}`;
  }

  focus() {
    const [active, inner] = [document.activeElement, this.section.getRootNode().activeElement];
    if (inner?.matches("select.label, textarea, input[type=text]")) return; // somebody is at work there
    if (!active || active === document.body || inner || active.contains(this.section)) this.back();
  }

  // What is on screen is taken away at once, whatever comes in its place.
  clear(why, record = null) {
    this.at = null;
    this.watch.stop();
    this.viewer.clear();
    this.panel.clear();
    this.state(why, record);
  }

  state(why, record) {
    const { section } = this;
    for (const name of ["waiting", "failed"]) section.classList.toggle(name, name === why);
    section.dataset.case = record?.key ?? "";
    delete section.dataset.ready;
    if (why === "failed") section.dataset.ready = `${this.key} failed`;
    this.find(".heading").textContent = record?.heading ?? "";
    this.find(".fault").textContent = why === "failed" ? record.fault : "";
    this.find(".coming").textContent = READY[why] ?? "";
    this.find(".place").textContent = this.place < 0 ? "" : `${this.place + 1} of ${this.data.sequence.length}`;
    for (const [selector, step] of [[".previous", -1], [".next", 1]]) this.find(selector).disabled = !this.beside([step]).length || this.place + step < 0;
    if (why) for (const part of this.section.querySelectorAll(".past")) part.replaceChildren();
  }

  // What Python is told next brings the address along: without the case once it is left, and never an older reader.
  address() {
    const url = new URL(window.location.href);
    if (this.leaving) url.searchParams.delete("case");
    else if (this.key) url.searchParams.set("case", this.key);
    if (this.feed.reader && !this.form.reader.asked) url.searchParams.set("reader", this.feed.reader);
    if (url.href !== window.location.href) window.history.replaceState(window.history.state, "", url);
  }

  // The verdicts as they are now: what was fetched ahead may be older.
  async renew(key) {
    if (!this.at || this.at.record.key !== key) return;
    try {
      const record = await this.feed.record(key, true);
      if (this.at?.record.key !== key || record.reader !== this.feed.reader) return;
      if (record.fault) this.meet(key, record, null);
      else {
        this.at.record = record;
        this.describe();
      }
    } catch (error) {
      if (this.at?.record.key === key) this.form.tell(error.message || NOT_THERE);
    }
  }

  async check(key) {
    while (this.key === key && this.at?.record.key === key) {
      try {
        const found = await this.feed.check(key, this.beside([1, 2]));
        if (this.at?.record.key !== key) return;
        if (found.state !== "waiting") {
          this.at.check = found;
          this.refresh();
          return;
        }
      } catch {
        return; // the beat says that the server is gone
      }
      await new Promise((resolve) => { setTimeout(resolve, ASK_AGAIN); });
    }
  }

  explained() {
    const { record } = this.at;
    const alt = `Radiograph of ${record.heading.replace("Patient", "patient")}`;
    return { key: record.key, label: this.label, alt, map: shownMap(this.at, this.label, this.own ? "" : this.method, this.part) };
  }

  get own() {
    return this.method === this.data.methods[0];
  }

  async otherMap() {
    const { at, label, method } = this;
    const name = `${method} ${label}`;
    if (this.own || at.others.has(name) || ownMaps(at, label).mean.state === "heatmap failed") return;
    at.others.set(name, null);
    try {
      at.others.set(name, await this.feed.heatmap(at.record.key, label, method));
    } catch (error) {
      at.others.set(name, { failed: `This heatmap could not be computed. ${error.message}` });
    }
    if (this.at === at) this.refresh();
  }

  refresh() {
    if (!this.at) return;
    this.viewer.explain(this.explained());
    this.describe();
  }

  describe() {
    const { record, check } = this.at;
    if (check.state === "refused") this.lookedAgain.add(record.key);
    this.find("select.label").value = this.label;
    this.panel.show(record, this.label, check);
    this.panel.history(record.labels[this.label]);
    this.form.show();
    const parts = this.find(".parts");
    const several = hasSpread(this.at, this.label, this.own ? "" : this.method);
    parts.hidden = !several;
    for (const choice of parts.querySelectorAll("input")) choice.checked = choice.value === (several ? this.part : "mean");
    this.find("select.method").value = this.method;
    Object.assign(this.section.dataset, { checked: check.state, method: this.method });
    if (this.section.dataset.ready) this.section.dataset.ready = `${record.key} ${this.label}`;
    this.otherMap();
  }

  heatmapShown(label) {
    if (this.wasShown.has(label)) return;
    this.wasShown.add(label);
    if (this.at && this.section.dataset.ready) this.form.show(); // which asks now what it was worth
  }

  back() {
    this.viewer.main.pane.canvas.focus({ preventScroll: true });
  }

  views() {
    return (this.at?.record.views ?? []).map(([key, caption]) => ({ caption, picture: this.feed.picture(key) }));
  }

  choose(label) {
    if (!label) return;
    this.label = label;
    this.part = "mean";
    this.refresh();
  }

  build() {
    const label = this.find("select.label");
    label.replaceChildren(...this.data.labels.map((name) => new Option(readable(name), name)));
    this.find(".finding").hidden = this.data.labels.length < 2;
    this.find("select.method").replaceChildren(...this.data.methods.map((name) => new Option(name, name)));
    const list = this.find("dialog.keys dl");
    for (const [key, words] of [...ROOM_KEYS, ...KEYS]) {
      const term = document.createElement("dt");
      term.append(...key.split(" ").map((part) => element("kbd", "", part)));
      list.append(term, element("dd", "", words));
    }
  }

  listen() {
    const on = (selector, kind, action) => this.find(selector).addEventListener(kind, action);
    on(".worklist", "click", () => this.leave());
    on(".previous", "click", () => this.go(-1));
    on(".next", "click", () => this.go(1));
    on("select.label", "change", ({ target }) => this.at && this.choose(target.value));
    on("select.method", "change", ({ target }) => { this.method = target.value; this.part = "mean"; this.refresh(); });
    on(".parts", "change", ({ target }) => { this.part = target.value; this.refresh(); });
    on(".again button", "click", () => this.open(this.flagged));
    this.pressed = (event) => press(this, event);
    this.seen = () => (document.hidden || !this.at ? this.watch.stop() : this.watch.start());
    window.addEventListener("keydown", this.pressed, true); // before Streamlit, which has keys of its own
    document.addEventListener("visibilitychange", this.seen);
  }

  // A server that ended is told at once, over whatever is shown; so is a score that was not reproduced after a verdict.
  async beat() {
    if (document.hidden) return;
    const found = await this.feed.beat();
    this.late = found?.late ? this.late + 1 : 0;
    const lost = found ? (this.late > 1 ? LATE : "") : LOST;
    if (this.find(".lost").textContent !== lost) this.find(".lost").textContent = lost;
    if (!found || found.late) return;
    this.form.beat();
    if (this.leaving) this.leave(); // a draft or an answer may have overtaken it on its way
    else this.address(); // Streamlit writes it as well, at moments of its own
    const again = found.again.filter((key) => key !== this.key && !this.lookedAgain.has(key));
    this.flagged = again[0];
    this.find(".again").hidden = !again.length;
    const several = again.length > 1 ? `${again.length} images` : "1 image";
    this.find(".again span").textContent = again.length ? `A verdict was saved of ${several} whose score the model does not give again.` : "";
  }

  close() {
    clearInterval(this.heart);
    window.removeEventListener("keydown", this.pressed, true);
    document.removeEventListener("visibilitychange", this.seen);
    Object.assign(this, { key: "", at: null, leaving: false });
    this.viewer.close();
  }
}
