// What a press of a key or a drag of the pointer does to what is looked at: one table, which the help shows as well.

import { dragged, nearest, span, within } from "./window.mjs";
import { moved, zoomedAt } from "./geometry.mjs";

export const TOOLS = { window: "Window", move: "Move", zoom: "Zoom", ruler: "Ruler", angle: "Angle", lens: "Magnifier", point: "Point", box: "Box" };
export const LETTERS = { window: "W", move: "M", zoom: "Z", ruler: "S", angle: "G", lens: "X", point: "Q", box: "K" };
const STEP = 20; // pixels of pointer movement that an arrow key stands for

// Each: the key, in words what it does, and what it does to a viewer (`keep` changes nothing of the picture).
export const KEYS = [
  ["W", "window: drag right and left for width, up and down for level", () => ({ tool: "window" })],
  ["M", "move the image", () => ({ tool: "move" })],
  ["Z", "zoom by dragging", () => ({ tool: "zoom" })],
  ["S", "ruler", () => ({ tool: "ruler" })],
  ["G", "angle", () => ({ tool: "angle" })],
  ["X", "magnifier", () => ({ tool: "lens" })],
  ["Q", "point at the finding; it is saved with the verdict", () => ({ tool: "point" })],
  ["K", "box around the finding; it is saved with the verdict", () => ({ tool: "box" })],
  ["1–9", "the windows and tables in the list", null],
  ["←", "narrower window", (room) => room.windowedBy(-STEP, 0)],
  ["→", "wider window", (room) => room.windowedBy(STEP, 0)],
  ["↑", "lower level, brighter", (room) => room.windowedBy(0, -STEP)],
  ["↓", "higher level, darker", (room) => room.windowedBy(0, STEP)],
  ["I", "invert", (room) => ({ inverted: !room.state.inverted })],
  ["H", "flip left to right", (room) => ({ view: flipped(room.state.view, 0) })],
  ["V", "flip upside down", (room) => ({ view: flipped(room.state.view, 2) })],
  ["R", "turn to the right", (room) => ({ view: turnedBy(room.state.view, 1) })],
  ["L", "turn to the left", (room) => ({ view: turnedBy(room.state.view, 3) })],
  ["+", "zoom in", (room) => room.zoomedBy(1.25)],
  ["-", "zoom out", (room) => room.zoomedBy(0.8)],
  ["=", "fit the image to the window", (room) => room.fitted()],
  ["0", "one pixel of the image is one of the screen", (room) => room.atOnePixel()],
  ["Space", "as it was opened", (room) => room.asOpened()],
  ["E", "hide or show the heatmap", (room) => ({ hidden: !room.state.hidden })],
  ["C", "hide or show the heatmap's contour", (room) => ({ contoured: !room.state.contoured })],
  ["T", "one pane or two", (room) => ({ panes: 3 - room.state.panes })],
  ["Y", "all views of the patient, side by side", (room) => room.allViews()],
  ["O", "show or hide what a shutter hides", (room) => ({ lifted: !room.state.lifted })],
  ["F", "full screen", (room) => room.fullScreen()],
  ["Delete", "remove the last mark", (room) => ({ marks: room.state.marks.slice(0, -1) })],
  ["?", "these keys", (room) => room.help()],
];

const NAMES = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", " ": "Space", Backspace: "Delete" };

// What a pressed key asks for: a change of state, or null where it is not ours.
export function pressed(room, key) {
  if (/^[1-9]$/.test(key)) return room.way(Number(key) - 1);
  const name = NAMES[key] ?? (key.length === 1 ? key.toUpperCase() : key);
  const found = KEYS.find(([own]) => own === name);
  return found?.[2] ? found[2](room) ?? {} : null;
}

export function turnedBy(view, quarters) {
  return { ...view, turns: (view.turns + quarters) % 4 };
}

// Flipped left to right as it is seen, however it was turned before; with two quarters upside down.
export function flipped(view, quarters) {
  return { ...view, mirrored: !view.mirrored, turns: (4 - view.turns + quarters) % 4 };
}

// What a drag by (dx, dy) does with a tool that changes the view or the window.
export function draggedBy(tool, { state, picture, image, pane, start }, dx, dy) {
  if (tool === "window") return { way: windowAfter(state.way, picture, dx, dy) };
  if (tool === "move") return { view: moved(state.view, image, dx, dy) };
  if (tool === "zoom") return { view: zoomedAt(state.view, image, pane, start, Math.exp(-dy / 150)) };
  return {};
}

// A window that was dragged; a table is left for the window that comes nearest to it.
export function windowAfter(way, picture, dx, dy) {
  const range = span(picture.modality);
  const from = way.table ? nearest(picture.modality, way.table, picture.inverted) : way;
  return { ...dragged(from, dx, dy, range), name: "" };
}

export function typed(way, picture, name, value) {
  const from = way.table ? nearest(picture.modality, way.table, picture.inverted) : way;
  const number = name === "width" ? within(value, 1e-6, Infinity) : value;
  return { function: from.function ?? "LINEAR", center: from.center, width: from.width, [name]: number, name: "" };
}
