// One picture, in one canvas or in two that move together, and what the pointer does to it.

import { Pane, shape } from "./draw.mjs";
import { atOnePixel, fitted, toImage, toScreen, zoomedAt } from "./geometry.mjs";
import { FINDINGS, begun, extended, meant, nearestPoint, withPoint } from "./measures.mjs";
import { draggedBy, typed, windowAfter } from "./tools.mjs";
import { inWords, nearest, shades, span } from "./window.mjs";

const UPRIGHT = { zoom: 1, centre: { x: 0, y: 0 }, turns: 0, mirrored: false };

export class Stage {
  // `host` says which tool is chosen, which label a mark is of, and what lies over a pane; it is told of changes.
  constructor(canvases, host) {
    this.host = host;
    this.panes = canvases.map((canvas) => new Pane(canvas));
    this.picture = null;
    this.state = { marks: [], view: UPRIGHT, inverted: false, lifted: false };
    this.panes.forEach((pane, number) => this.point(pane, number));
    this.sizes = new ResizeObserver(() => this.resized());
    for (const { canvas } of this.panes) this.sizes.observe(canvas);
  }

  clear() {
    Object.assign(this, { picture: null, lens: null, pending: null, drag: null });
    cancelAnimationFrame(this.waiting);
    this.waiting = 0;
    for (const { canvas, context } of this.panes) {
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.clearRect(0, 0, canvas.width, canvas.height);
      delete canvas.dataset.shown;
    }
  }

  // Another picture; `same`: of the same case, only better, so that what was set stays.
  take(picture, { same = false } = {}) {
    this.picture = picture;
    if (!same) this.state = { marks: [], inverted: false, lifted: false, ...this.opened() };
    else if (this.state.way.table) this.state.way = this.sameWay();
  }

  sameWay() {
    return { ...(this.picture.ways.find(({ name }) => name === this.state.way.name) ?? this.picture.ways[this.picture.chosen]) };
  }

  // The pane that is seen: of two, one may be hidden.
  get pane() {
    return this.panes.find(({ size }) => size.width) ?? this.panes[0];
  }

  get image() {
    return shape(this.picture);
  }

  opened() {
    return { way: this.picture.ways[this.picture.chosen], view: fitted(UPRIGHT, this.image, this.pane.size), fits: true };
  }

  // What keys and buttons do; each gives the part of the state that changes.
  way(number) {
    const way = this.picture.ways[number];
    return way ? { way } : null;
  }

  windowedBy(dx, dy) {
    return { way: windowAfter(this.state.way, this.picture, dx, dy) };
  }

  typed(name, value) {
    return { way: typed(this.state.way, this.picture, name, value) };
  }

  zoomedBy(factor) {
    const pane = this.pane.size;
    return this.closer(pane, { x: pane.width / 2, y: pane.height / 2 }, factor);
  }

  closer(pane, place, factor) {
    return { view: zoomedAt(this.state.view, this.image, pane, place, factor), fits: false };
  }

  fitted() {
    return { view: fitted(this.state.view, this.image, this.pane.size), fits: true };
  }

  atOnePixel() {
    return { view: atOnePixel(this.state.view, this.image, this.pane.size, window.devicePixelRatio || 1), fits: false };
  }

  asOpened() {
    return { ...this.opened(), inverted: false, lifted: false };
  }

  set(changes) {
    Object.assign(this.state, changes);
    this.draw();
  }

  resized() {
    if (this.picture && this.state.fits) this.state.view = this.fitted().view;
    this.draw();
  }

  // One drawing per frame of the screen, however many events arrive.
  draw() {
    if (!this.picture || this.waiting) return;
    this.waiting = requestAnimationFrame(() => this.drawNow());
  }

  drawNow() {
    cancelAnimationFrame(this.waiting);
    this.waiting = 0;
    if (!this.picture) return;
    const { state, picture } = this;
    const gray = shades(picture, { ...state.way, inverted: state.inverted });
    const marks = this.pending ? [...state.marks, this.pending] : state.marks;
    let like = null;
    this.panes.forEach((pane, number) => {
      const lens = this.lens?.pane === number ? this.lens : null;
      const drawn = pane.draw({ picture, view: state.view, shades: gray, marks, over: this.host.over(this, number), lens, lifted: state.lifted, like });
      like ??= drawn;
      pane.canvas.dataset.shown = picture.key;
    });
    this.host.drawn(this);
  }

  // Width and centre as numbers to show, of a table those of the window that comes nearest to it.
  get window() {
    const { picture, state } = this;
    const { width, center } = state.way.table ? nearest(picture.modality, state.way.table, picture.inverted) : state.way;
    const range = span(picture.modality).width;
    return { width: inWords(width, range), center: inWords(center, range) };
  }

  // What was changed of how the picture was taken, in words.
  get altered() {
    const { view: { mirrored, turns }, inverted } = this.state;
    return [mirrored && "mirrored", turns && `turned by ${90 * turns}°`, inverted && "inverted"].filter(Boolean);
  }

  point(pane, number) {
    const { canvas } = pane;
    const at = (event) => {
      const box = canvas.getBoundingClientRect();
      return { x: event.clientX - box.left, y: event.clientY - box.top };
    };
    const on = (kind, action, options) => canvas.addEventListener(kind, (event) => this.picture && action(event), options);
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("focus", () => this.host.chosen(this));
    on("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.host.chosen(this);
      const place = at(event);
      const tool = event.shiftKey || event.button === 1 ? "move" : event.button === 2 ? "zoom" : this.host.tool;
      this.drag = { tool, start: place, last: place };
      if (event.button === 1) event.preventDefault();
      this.begin(tool, pane, number, place);
    });
    on("pointermove", (event) => {
      const place = at(event);
      this.host.told(this.under(pane, place));
      if (this.drag && canvas.hasPointerCapture(event.pointerId)) this.follow(pane, number, place);
    });
    canvas.addEventListener("pointerup", () => this.finish());
    canvas.addEventListener("pointercancel", () => this.finish());
    canvas.addEventListener("pointerleave", () => this.host.told(""));
    on("dblclick", (event) => ["window", "move", "zoom"].includes(this.host.tool) && this.set(this.closer(pane.size, at(event), 2)));
    on("wheel", (event) => {
      event.preventDefault();
      this.set(this.closer(pane.size, at(event), Math.exp(-event.deltaY / 500)));
    }, { passive: false });
  }

  begin(tool, pane, number, place) {
    const { view } = this.state;
    if (tool === "lens") {
      this.lens = { pane: number, ...place };
    } else if (!["window", "move", "zoom"].includes(tool)) {
      const point = toImage(view, this.image, pane.size, place);
      const held = this.pending ? null : nearestPoint(this.state.marks, place, (end) => toScreen(view, this.image, pane.size, end));
      this.drag.held = held;
      if (this.pending) this.pending = extended(this.pending, point);
      else if (!held) {
        const mark = begun(tool, point, FINDINGS.includes(tool) ? this.host.label : "");
        this.pending = mark.whole ? mark : extended(mark, point); // its second end follows the pointer
      }
    }
    this.draw();
  }

  follow(pane, number, place) {
    const { drag, state } = this;
    const [dx, dy] = [place.x - drag.last.x, place.y - drag.last.y];
    const point = toImage(state.view, this.image, pane.size, place);
    if (drag.tool === "lens") this.lens = { pane: number, ...place };
    else if (drag.held) state.marks = withPoint(state.marks, drag.held, point);
    else if (this.pending) this.pending = { ...this.pending, points: [...this.pending.points.slice(0, -1), point] };
    else {
      Object.assign(state, draggedBy(drag.tool, { state, picture: this.picture, image: this.image, pane: pane.size, start: drag.start }, dx, dy));
      if (drag.tool !== "window") state.fits = false;
    }
    drag.last = place;
    this.draw();
  }

  finish() {
    if (this.drag && this.pending?.whole) {
      if (meant(this.pending)) this.state.marks = [...this.state.marks, this.pending];
      this.pending = null;
    }
    Object.assign(this, { drag: null, lens: null });
    this.draw();
  }

  // The value under the pointer, in the image's own terms.
  under(pane, place) {
    const { picture } = this;
    const { x, y } = toImage(this.state.view, this.image, pane.size, place);
    const [row, column] = [Math.floor(y), Math.floor(x)];
    if (row < 0 || column < 0 || row >= picture.native.rows || column >= picture.native.columns) return "";
    const [down, across] = [picture.size.rows / picture.native.rows, picture.size.columns / picture.native.columns];
    const level = picture.levels[Math.floor(row * down) * picture.size.columns + Math.floor(column * across)];
    return `row ${row + 1}, column ${column + 1}: ${inWords(picture.modality[level], span(picture.modality).width)}`;
  }

  close() {
    this.clear();
    this.sizes.disconnect();
  }
}
