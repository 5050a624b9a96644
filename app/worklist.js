// The worklist as a real table: every text is set as text, never as HTML.

const CHUNK = 100; // rows built at once

function cell(row, className, ...children) {
  const made = document.createElement("td");
  made.className = className;
  made.append(...children.filter(Boolean));
  row.append(made);
  return made;
}

function element(kind, className, text) {
  const made = document.createElement(kind);
  made.className = className;
  made.textContent = text;
  return made;
}

function build(record, open) {
  const row = document.createElement("tr");
  row.dataset.key = record.key;
  if (record.positive) row.className = "above";
  const button = element("button", "open", record.patient);
  button.type = "button";
  cell(row, "", button, record.image && element("div", "minor", record.image));
  cell(row, "", record.view);
  const score = element("div", "score", record.shown);
  const bar = element("div", "bar", "");
  const [fill, point] = [document.createElement("i"), document.createElement("b")];
  fill.style.width = `${100 * record.probability}%`;
  point.style.left = `${100 * record.threshold}%`;
  bar.append(fill, point);
  score.append(bar);
  cell(row, "score-cell", score);
  cell(row, "", element("div", "call", record.call), ...record.review.map((text) => element("div", "minor look", text)));
  cell(row, "verdict", element("div", "", record.verdict), record.by && element("div", "minor", record.by));
  row.addEventListener("click", () => open(record.key));
  row.addEventListener("keydown", (event) => {
    const target = { ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling }[event.key];
    if (!target) return;
    event.preventDefault();
    target.querySelector("button").focus();
  });
  return row;
}

export default function ({ data, parentElement, setTriggerValue }) {
  const body = parentElement.querySelector("tbody");
  const more = parentElement.querySelector(".more");
  const empty = parentElement.querySelector(".empty");
  const open = (key) => setTriggerValue("opened", key);
  parentElement.querySelector(".score-head").textContent = `${data.label} (│ operating point ${data.point})`;
  body.replaceChildren();
  empty.textContent = data.empty;
  empty.hidden = data.rows.length > 0;
  parentElement.querySelector("table").hidden = data.rows.length === 0;
  const extend = () => {
    const from = body.children.length;
    body.append(...data.rows.slice(from, from + CHUNK).map((record) => build(record, open)));
    const left = data.rows.length - body.children.length;
    more.hidden = left === 0;
    more.textContent = `Show ${Math.min(CHUNK, left)} more of ${left}`;
  };
  more.onclick = extend;
  extend();
}
