// The keys of the whole page: those of a case are here, those of the image in tools.mjs.

export const ROOM_KEYS = [
  ["A D U", "agree, disagree, unsure"],
  ["J", "say more: confidence, whether the heatmap helped"],
  ["/", "skip the case, and why"],
  ["Esc", "from the form back to the image"],
  ["Enter", "save the verdict and go on to the next case"],
  ["N P", "next and previous case"],
  ["[ ]", "the finding before and after"],
  ["B", "back to the worklist"],
];
const OPINIONS = { a: "agree", d: "disagree", u: "unsure", "/": "skipped" };
const CHOICES = /^(radio|checkbox)$/;

// What a key does, wherever the focus is, but in what is written and in what others have in hand.
export function press(room, event) {
  const [target] = event.composedPath();
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
  if (event.key === "Escape" && target.closest?.(".verdict")) room.back();
  if (isTaken(room, target, event.key)) return;
  if (!act(room, event.key) && !room.viewer.press(event.key)) return;
  event.preventDefault();
  event.stopPropagation();
}

function isTaken(room, target, key) {
  if (!room.section.contains(target) && target !== document.body && !target.closest?.(".stApp")) return true;
  if (document.querySelector("[role=dialog]") || (room.find("dialog.keys").open && key !== "?")) return true;
  if (/^(TEXTAREA|SELECT)$/.test(target.tagName) || (target.tagName === "INPUT" && /^(text|range)$/.test(target.type))) return true;
  if (target.matches?.("button, summary, a") && (key === " " || key === "Enter")) return true;
  return CHOICES.test(target.type) && (key === " " || key.startsWith("Arrow"));
}

// Whether a key was one of a case's.
function act(room, key) {
  const name = key.length === 1 ? key.toLowerCase() : key;
  if (name === "n" || name === "p") room.go(name === "n" ? 1 : -1);
  else if (name === "b") room.leave();
  else if (!room.at) return false;
  else if (OPINIONS[name]) room.form.opine(OPINIONS[name]);
  else if (name === "j") room.form.more();
  else if (name === "Enter") {
    if (room.form.save()) room.go(1);
  } else if (name === "[" || name === "]") {
    const { labels } = room.data;
    room.choose(labels[labels.indexOf(room.label) + (name === "]" ? 1 : -1)]);
  } else return false;
  return true;
}
