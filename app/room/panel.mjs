// The score of a case beside its picture: what the model says, what that means elsewhere, what others said. Text only.

import { atPrevalence, percent, thousand } from "./dial.mjs";
import { readable, sentence } from "./text.mjs";

export function element(kind, className, text = "") {
  const made = document.createElement(kind);
  made.className = className;
  made.textContent = text;
  return made;
}

const CHECKED = {
  waiting: "As it was stored; the model is computing it again …",
  same: "✓ The model gives this score again.",
  unchecked: "As it was stored; it could not be computed again: ",
};

export class Panel {
  constructor(root, points) {
    this.find = (selector) => root.querySelector(selector);
    this.points = points; // by label, of the model's card
    this.prevalence = 10; // percent, until a reader says what holds here
    const dial = this.find("input.prevalence");
    dial.addEventListener("input", () => {
      this.prevalence = Number(dial.value);
      this.turn();
    });
  }

  // A label of a case; `check` says whether the model gives the score again.
  show(record, label, check) {
    this.label = label;
    const found = record.labels[label];
    const refused = check.state === "refused";
    this.find(".panel").dataset.case = record.key;
    this.find(".score").hidden = refused;
    this.find(".means").hidden = refused;
    this.find(".replaced").hidden = !refused;
    this.find(".replaced .why").textContent = refused ? `The score is not shown. ${sentence(check.text)}` : "";
    this.find(".flagged").hidden = !refused || !found.revision;
    this.list(".look ul", record.review);
    this.find(".look").hidden = !record.review.length;
    this.list(".remarks ul", record.warnings);
    this.find(".remarks").hidden = !record.warnings.length;
    if (refused) return;
    const score = this.find(".score");
    score.classList.toggle("above", found.positive);
    const text = (selector, value) => { this.find(selector).textContent = value; };
    text(".score .label", readable(label));
    text(".score .value", found.shown);
    text(".score .where", `${found.positive ? "▲" : "▽"} ${found.side}`);
    this.find(".score .bar i").style.width = `${100 * found.probability}%`;
    this.find(".score .bar b").style.left = `${100 * this.points[label].threshold}%`;
    text(".score .statement", found.statement);
    text(".score .checked", CHECKED[check.state] + (check.state === "unchecked" ? sentence(check.text) : ""));
    score.dataset.checked = check.state;
    this.list(".folds ul", found.folds);
    text(".folds p", found.folds_said);
    this.find(".folds").hidden = !found.folds.length;
    this.turn();
  }

  // Nothing of a case stays in the page, not even unseen.
  clear() {
    delete this.find(".panel").dataset.case;
    for (const name of ["label", "value", "where", "statement", "checked"]) this.find(`.score .${name}`).textContent = "";
    for (const selector of [".folds p", ".replaced .why", ".claim"]) this.find(selector).textContent = "";
    for (const selector of [".folds ul", ".look ul", ".remarks ul"]) this.list(selector, []);
    for (const part of ["i", "b"]) this.find(`.score .bar ${part}`).removeAttribute("style");
  }

  list(selector, texts) {
    this.find(selector).replaceChildren(...texts.map((text) => element("li", "", text)));
  }

  // What the model's calls mean at the prevalence that is dialled.
  turn() {
    const point = this.points[this.label];
    if (!point) return;
    const { sensitivity, specificity } = point;
    const text = (selector, value) => { this.find(selector).textContent = value; };
    text(".means .chosen", `Operating point ${point.shown}. ${point.chosen}`);
    text(".means .measured", point.measured);
    const known = Boolean(sensitivity && specificity);
    this.find(".means .dial").hidden = !known;
    if (!known) return;
    const share = this.prevalence / 100;
    const { ppv, npv } = atPrevalence(sensitivity, specificity, share);
    const { called, right, passed, missed } = thousand(sensitivity, specificity, share);
    this.find("input.prevalence").value = String(this.prevalence);
    text(".means output", `${this.prevalence} %`);
    text(".means .found", `Finds ${percent(sensitivity)} of those with it, passes ${percent(specificity)} of those without.`);
    text(".means .ppv", ppv ? percent(ppv) : "never calls it");
    text(".means .npv", npv ? percent(npv) : "always calls it");
    text(".means .thousand", `Of 1000 such images it calls ${called}, rightly ${right}; of the ${passed} others it misses ${missed}.`);
  }

  // The verdicts on a label, newest first.
  history(found) {
    const entries = (verdicts) => verdicts.map(({ said, reviewer, when, details, comment }) => {
      const item = element("li", "");
      item.append(element("b", "", said), " ", element("span", "who", `${reviewer}, ${when}`));
      if (details) item.append(element("div", "details", details));
      if (comment) item.append(element("div", "", comment));
      return item;
    });
    const past = this.find(".past");
    past.replaceChildren();
    if (found.history.length) past.append(listed(entries(found.history)));
    if (found.hidden) past.append(element("p", "notes", found.hidden));
    if (found.others_said) past.append(element("p", "notes", found.others_said), listed(entries(found.others)));
  }
}

function listed(items) {
  const list = element("ul", "history");
  list.append(...items);
  return list;
}
