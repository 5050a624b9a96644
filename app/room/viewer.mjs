// The viewer: panes, tools and keys of one image. It asks the server for pictures alone, and for each of them once.

import { Pane, shape } from "./draw.mjs";
import { Feed, Refusal } from "./feed.mjs";
import { atOnePixel, fitted, toImage, toScreen, zoomedAt } from "./geometry.mjs";
import { begun, extended, nearestPoint, withPoint } from "./measures.mjs";
import { KEYS, TOOLS, draggedBy, pressed, typed, windowAfter } from "./tools.mjs";
import { inWords, nearest, shades, span } from "./window.mjs";

const OPACITY = 60; // percent of full colour, as in the pictures that medres writes
const BEAT = 1500; // milliseconds between two questions whether the server is there
const LOST = "The review app does not answer any more: nothing can be saved. Start it again with medres app; this page cannot go on.";
const UPRIGHT = { zoom: 1, centre: { x: 0, y: 0 }, turns: 0, mirrored: false };

export class Viewer {
  constructor(root) {
    this.find = (selector) => root.querySelector(selector);
    this.section = this.find(".viewer");
    this.panes = [new Pane(this.find("canvas.plain")), new Pane(this.find("canvas.overlay"))];
    this.feed = new Feed(document.baseURI);
    this.asked = new Set(); // heatmaps that are shown on request
    this.words = null; // of the case that is shown
    this.wanted = ""; // the id of what was asked for last
    this.state = { tool: "window", panes: 2, opacity: OPACITY, contoured: true, hidden: false, marks: [], view: UPRIGHT };
    this.build();
    this.listen();
    this.heart = setInterval(() => this.listenForServer(), BEAT);
    this.sizes = new ResizeObserver(() => this.resized());
    for (const { canvas } of this.panes) this.sizes.observe(canvas);
  }

  // Show a case: its words and heatmap, and its picture when that is there. Nothing of another case stays.
  async show(words, heatmap, contour) {
    if (words.id === this.wanted) return;
    this.wanted = words.id;
    const same = this.words?.image === words.image && this.picture;
    if (!same) this.clear();
    else this.meet(this.picture, words, heatmap, contour);
    if (same) return;
    const early = (picture) => this.wanted === words.id && this.meet(picture, words, heatmap, contour, true);
    try {
      const picture = await this.feed.picture(words.image, early);
      if (this.wanted === words.id) this.meet(picture, words, heatmap, contour);
      this.feed.prefetch(words.beside);
    } catch (error) {
      if (this.wanted === words.id) this.refuse(error);
    }
  }

  clear() {
    Object.assign(this, { picture: null, words: null, lens: null, pending: null, drag: null });
    delete this.section.dataset.ready;
    delete this.section.dataset.failed;
    this.section.classList.add("waiting");
    for (const { canvas } of this.panes) canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    this.find(".message").textContent = "";
  }

  refuse(error) {
    this.section.dataset.failed = "yes";
    this.section.classList.remove("waiting");
    const lost = "The picture did not come. Is the review app still running? Start it again with medres app.";
    this.find(".message").textContent = error instanceof Refusal && error.message ? error.message : lost;
  }

  meet(picture, words, heatmap, contour, early = false) {
    const fresh = this.words?.image !== words.image;
    const followed = this.picture;
    Object.assign(this, { picture, words, heatmap, contour });
    if (fresh) {
      this.set({ marks: [], hidden: false, inverted: false, ...this.opened() });
      if (["BODY", "BUTTON"].includes(document.activeElement?.tagName)) this.panes[0].canvas.focus({ preventScroll: true });
    }
    else if (followed !== picture && this.state.way.table) this.state.way = this.sameWay();
    this.section.classList.remove("waiting");
    this.describe();
    this.draw();
    if (!early) this.section.dataset.ready = words.id;
  }

  sameWay() {
    return { ...(this.picture.ways.find(({ name }) => name === this.state.way.name) ?? this.picture.ways[this.picture.chosen]) };
  }

  opened() {
    const image = shape(this.picture);
    return { way: this.picture.ways[this.picture.chosen], view: fitted(UPRIGHT, image, this.panes[0].size), fits: true };
  }

  // What keys and buttons do; each gives the part of the state that changes.
  way(number) {
    const way = this.picture.ways[number];
    return way ? { way } : null;
  }

  windowedBy(dx, dy) {
    return { way: windowAfter(this.state.way, this.picture, dx, dy) };
  }

  zoomedBy(factor) {
    const pane = this.panes[0].size;
    return this.closer(pane, { x: pane.width / 2, y: pane.height / 2 }, factor);
  }

  closer(pane, place, factor) {
    return { view: zoomedAt(this.state.view, shape(this.picture), pane, place, factor), fits: false };
  }

  fitted() {
    return { view: fitted(this.state.view, shape(this.picture), this.panes[0].size), fits: true };
  }

  atOnePixel() {
    return { view: atOnePixel(this.state.view, shape(this.picture), this.panes[0].size, window.devicePixelRatio || 1), fits: false };
  }

  asOpened() {
    return { ...this.opened(), inverted: false, hidden: false };
  }

  fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.section.requestFullscreen?.();
    return {};
  }

  help() {
    const help = this.find("dialog.keys");
    if (help.open) help.close();
    else help.showModal();
    return {};
  }

  set(changes) {
    Object.assign(this.state, changes);
    this.draw();
  }

  resized() {
    if (this.picture && this.state.fits) this.state.view = this.fitted().view;
    this.draw();
  }

  get showsHeatmap() {
    return Boolean(this.heatmap) && (this.words.drawn || this.asked.has(this.words.asked)) && !this.state.hidden;
  }

  // One drawing per frame of the screen, however many events arrive.
  draw() {
    if (!this.picture || this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = 0;
      if (!this.picture) return;
      const { state, picture } = this;
      const gray = shades(picture, { ...state.way, inverted: state.inverted });
      const over = this.showsHeatmap
        ? { heatmap: this.heatmap, opacity: state.opacity / 100, contour: state.contoured ? this.contour : null } : null;
      this.panes.forEach((pane, number) => pane.draw({
        picture, view: state.view, shades: gray, marks: this.pending ? [...state.marks, this.pending] : state.marks,
        over: number ? over : null, lens: this.lens?.pane === number ? this.lens : null,
      }));
      this.section.dataset.shown = this.words.image;
      this.showValues();
    });
  }

  describe() {
    const { words, picture } = this;
    const text = (selector, value) => { this.find(selector).textContent = value; };
    text(".title", words.title);
    text(".licence", words.licence);
    text(".state", `· ${words.state}`);
    this.find(".state").classList.toggle("validated", words.state === "heatmap validated");
    text(".contour-place", words.contoured);
    text(".full", words.full);
    text(".strength", words.strength);
    text(".withheld p", words.note);
    text(".spacing", picture.where ? `Millimetres ${picture.where} (${picture.keyword}).` : "The size of a pixel is not known: lengths are in pixels.");
    this.find(".legend").hidden = !this.heatmap;
    this.find(".anyway").hidden = !this.heatmap;
    this.panes[0].canvas.setAttribute("aria-label", words.alt);
    this.panes[1].canvas.setAttribute("aria-label", `${words.alt}, with the heatmap of ${words.label}`);
    const choice = this.find("select.voi");
    choice.replaceChildren(new Option("Own window", "own"), ...picture.ways.map(({ name }, number) => new Option(name, number)));
    const ramp = this.find(".ramp").getContext("2d");
    const line = ramp.createImageData(256, 1);
    for (let step = 0; step < 256; step += 1) line.data.set([...words.colours.slice(3 * step, 3 * step + 3), 255], 4 * step);
    ramp.putImageData(line, 0, 0);
  }

  showValues() {
    const { state, picture } = this;
    const range = span(picture.modality).width;
    const shown = state.way.table ? nearest(picture.modality, state.way.table, picture.inverted) : state.way;
    for (const [name, value] of [["width", shown.width], ["center", shown.center]]) {
      const field = this.find(`input.${name}`);
      if (document.activeElement !== field && field.getRootNode().activeElement !== field) field.value = inWords(value, range);
    }
    const number = picture.ways.findIndex((way) => way.name && way.name === state.way.name);
    this.find("select.voi").value = number < 0 ? "own" : String(number);
    this.find("input.opacity").value = state.opacity;
    this.find("input.opacity").disabled = !this.showsHeatmap;
    this.find(".opacity-value").textContent = `${Math.round(state.opacity)} %`;
    this.find(".zoom-value").textContent = `${Math.round(100 * state.view.zoom * (window.devicePixelRatio || 1))} %`;
    for (const name of ["inverted", "contoured"]) this.find(`input.${name}`).checked = Boolean(state[name]);
    for (const button of this.section.querySelectorAll("button[data-tool]")) {
      button.setAttribute("aria-pressed", String(button.dataset.tool === state.tool));
    }
    const asked = this.asked.has(this.words.asked);
    this.find(".withheld").hidden = Boolean(this.heatmap) && (this.words.drawn || asked);
    this.find(".asked").hidden = !this.heatmap || this.words.drawn || !asked;
    const { mirrored, turns } = state.view;
    const changed = [mirrored && "mirrored", turns && `turned by ${90 * turns}°`, state.inverted && "inverted"].filter(Boolean);
    this.find(".changed").textContent = changed.length ? `Not as it was taken: ${changed.join(", ")}.` : "";
    this.section.dataset.tool = state.tool;
    this.section.dataset.panes = state.panes;
  }

  build() {
    const tools = this.find(".choose-tool");
    for (const [name, words] of Object.entries(TOOLS)) {
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: words });
      button.dataset.tool = name;
      tools.append(button);
    }
    const list = this.find("dialog.keys dl");
    for (const [key, words] of KEYS) {
      const [term, meaning] = ["dt", "dd"].map((kind) => document.createElement(kind));
      term.append(Object.assign(document.createElement("kbd"), { textContent: key }));
      meaning.textContent = words;
      list.append(term, meaning);
    }
  }

  listen() {
    const on = (selector, kind, action) => this.find(selector).addEventListener(kind, (event) => this.picture && action(event));
    on("input.opacity", "input", ({ target }) => this.set({ opacity: Number(target.value) }));
    for (const name of ["width", "center"]) {
      on(`input.${name}`, "change", ({ target }) => {
        const value = Number(target.value);
        if (Number.isFinite(value)) this.set({ way: typed(this.state.way, this.picture, name, value) });
      });
    }
    on("select.voi", "change", ({ target }) => target.value !== "own" && this.set(this.way(Number(target.value))));
    for (const name of ["inverted", "contoured"]) on(`input.${name}`, "change", ({ target }) => this.set({ [name]: target.checked }));
    on(".choose-tool", "click", ({ target }) => target.dataset.tool && this.set({ tool: target.dataset.tool }));
    for (const button of this.section.querySelectorAll("button[data-key]")) {
      button.addEventListener("click", () => this.picture && this.set(pressed(this, button.dataset.key) ?? {}));
    }
    on(".anyway", "click", () => { this.asked.add(this.words.asked); this.set({}); });
    this.section.addEventListener("keydown", (event) => this.press(event));
    this.panes.forEach((pane, number) => this.point(pane, number));
  }

  press(event) {
    const writes = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "checkbox";
    if (!this.picture || writes || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.target.tagName === "BUTTON" && (event.key === " " || event.key === "Enter")) return;
    const change = pressed(this, event.key);
    if (!change) return;
    event.preventDefault();
    event.stopPropagation();
    this.set(change);
  }

  point(pane, number) {
    const { canvas } = pane;
    const at = (event) => {
      const box = canvas.getBoundingClientRect();
      return { x: event.clientX - box.left, y: event.clientY - box.top };
    };
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("pointerdown", (event) => {
      if (!this.picture) return;
      canvas.setPointerCapture(event.pointerId);
      const place = at(event);
      const tool = event.shiftKey || event.button === 1 ? "move" : event.button === 2 ? "zoom" : this.state.tool;
      this.drag = { tool, start: place, last: place };
      if (event.button === 1) event.preventDefault();
      this.begin(tool, pane, number, place);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!this.picture) return;
      const place = at(event);
      this.tell(pane, place);
      if (this.drag && canvas.hasPointerCapture(event.pointerId)) this.follow(pane, number, place);
    });
    canvas.addEventListener("pointerup", () => this.finish());
    canvas.addEventListener("pointercancel", () => this.finish());
    canvas.addEventListener("pointerleave", () => { this.find(".under-pointer").textContent = ""; });
    canvas.addEventListener("dblclick", (event) => this.picture && this.state.tool !== "angle" && this.set(this.closer(pane.size, at(event), 2)));
    canvas.addEventListener("wheel", (event) => {
      if (!this.picture) return;
      event.preventDefault();
      this.set(this.closer(pane.size, at(event), Math.exp(-event.deltaY / 500)));
    }, { passive: false });
  }

  begin(tool, pane, number, place) {
    const [image, { view }] = [shape(this.picture), this.state];
    if (tool === "lens") {
      this.lens = { pane: number, ...place };
      this.draw();
    } else if (tool === "ruler" || tool === "angle") {
      const point = toImage(view, image, pane.size, place);
      const held = this.pending ? null : nearestPoint(this.state.marks, place, (end) => toScreen(view, image, pane.size, end));
      this.drag.held = held;
      if (this.pending) this.pending = extended(this.pending, point);
      else if (!held) this.pending = extended(begun(tool, point), point); // its second end follows the pointer
      this.draw();
    }
  }

  follow(pane, number, place) {
    const { drag, state } = this;
    const image = shape(this.picture);
    const [dx, dy] = [place.x - drag.last.x, place.y - drag.last.y];
    const point = toImage(state.view, image, pane.size, place);
    if (drag.tool === "lens") this.lens = { pane: number, ...place };
    else if (drag.held) state.marks = withPoint(state.marks, drag.held, point);
    else if (this.pending) this.pending = { ...this.pending, points: [...this.pending.points.slice(0, -1), point] };
    else {
      Object.assign(state, draggedBy(drag.tool, { state, picture: this.picture, image, pane: pane.size, start: drag.start }, dx, dy));
      if (drag.tool !== "window") state.fits = false;
    }
    drag.last = place;
    this.draw();
  }

  finish() {
    const whole = this.drag && this.pending?.whole ? this.pending : null;
    if (whole) {
      const [first, second] = whole.points;
      const drawn = first.x !== second.x || first.y !== second.y;
      if (drawn) this.state.marks = [...this.state.marks, whole];
      this.pending = null;
    }
    Object.assign(this, { drag: null, lens: null });
    this.draw();
  }

  // The value under the pointer, in the image's own terms.
  tell(pane, place) {
    const { picture } = this;
    const { x, y } = toImage(this.state.view, shape(picture), pane.size, place);
    const [row, column] = [Math.floor(y), Math.floor(x)];
    const inside = row >= 0 && column >= 0 && row < picture.native.rows && column < picture.native.columns;
    let said = "";
    if (inside) {
      const [down, across] = [picture.size.rows / picture.native.rows, picture.size.columns / picture.native.columns];
      const level = picture.levels[Math.floor(row * down) * picture.size.columns + Math.floor(column * across)];
      said = `row ${row + 1}, column ${column + 1}: ${inWords(picture.modality[level], span(picture.modality).width)}`;
    }
    this.find(".under-pointer").textContent = said;
  }

  // A server that ended is told at once, over whatever is shown; what was read stays.
  async listenForServer() {
    if (document.hidden) return;
    const lost = !(await this.feed.answers());
    if (lost === Boolean(this.section.dataset.lost)) return;
    if (lost) this.section.dataset.lost = "yes";
    else delete this.section.dataset.lost;
    this.find(".lost").textContent = lost ? LOST : "";
  }

  close() {
    clearInterval(this.heart);
    this.sizes.disconnect();
    cancelAnimationFrame(this.waiting);
  }
}
