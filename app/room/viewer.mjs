// The viewer: a picture beside itself under a heatmap, or all views of a patient, with the tools of all of them.

import { Stage } from "./stage.mjs";
import { LETTERS, TOOLS, pressed } from "./tools.mjs";

const OPACITY = 60; // percent of full colour, as in the pictures that medres writes

export class Viewer {
  // `room` has `colours`, and gives views: the pictures of the patient's other images, once they are there.
  constructor(root, room) {
    this.find = (selector) => root.querySelector(selector);
    this.section = this.find(".viewer");
    this.room = room;
    this.common = { tool: "window", panes: 2, opacity: OPACITY, contoured: true, hidden: false, views: false };
    this.asked = new Set(); // heatmaps that are shown on request
    this.shown = null; // {key, label, alt, map}
    this.main = new Stage([this.find("canvas.plain"), this.find("canvas.overlay")], this);
    this.others = []; // stages of the other views
    this.active = this.main;
    this.build();
    this.listen();
  }

  // What a stage asks of its host.
  get tool() {
    return this.common.tool;
  }

  get label() {
    return this.shown?.label ?? "";
  }

  over(stage, number) {
    if (stage !== this.main || !number || !this.showsHeatmap) return null;
    const { map } = this.shown;
    return { heatmap: map.canvas, opacity: this.common.opacity / 100, contour: this.common.contoured ? map.outline : null };
  }

  drawn(stage) {
    if (stage === this.active) this.showValues();
  }

  chosen(stage) {
    if (this.active === stage) return;
    this.active = stage;
    this.describe();
    this.showValues();
  }

  told(text) {
    this.find(".under-pointer").textContent = text;
  }

  get showsHeatmap() {
    const map = this.shown?.map;
    return Boolean(map?.canvas) && (map.drawn || this.asked.has(this.request)) && !this.common.hidden && !this.common.views;
  }

  get request() {
    return `${this.shown.key} ${this.shown.label}`; // what is shown on request once is shown in every way
  }

  // A picture with its words, at once: whoever calls changes the rest of the page in the same moment.
  meet(picture, shown, same) {
    this.shown = shown;
    if (!same) {
      this.setCommon({ hidden: false });
      this.closeViews();
      this.active = this.main;
    }
    this.main.take(picture, { same });
    this.describe();
    this.main.drawNow();
    this.showValues();
  }

  // Another label, method or map of the same picture.
  explain(shown) {
    this.shown = shown;
    if (!this.main.picture) return;
    this.describe();
    this.main.drawNow();
    this.showValues();
  }

  clear() {
    this.shown = null;
    this.closeViews();
    this.active = this.main;
    this.main.clear();
  }

  get ready() {
    return Boolean(this.active.picture);
  }

  // State that keys change: of the stage that is worked on, and what all have in common.
  get state() {
    return { ...this.active.state, ...this.common };
  }

  setCommon(changes) {
    for (const name of Object.keys(this.common)) if (name in changes) this.common[name] = changes[name];
  }

  set(changes) {
    this.setCommon(changes);
    const own = Object.fromEntries(Object.entries(changes).filter(([name]) => !(name in this.common)));
    if ("marks" in own && this.active.pending) Object.assign(this.active, { pending: null });
    Object.assign(this.active.state, own);
    for (const stage of [this.main, ...this.others]) stage.draw();
    this.showValues();
  }

  way(number) { return this.active.way(number); }

  windowedBy(dx, dy) { return this.active.windowedBy(dx, dy); }

  zoomedBy(factor) { return this.active.zoomedBy(factor); }

  fitted() { return this.active.fitted(); }

  atOnePixel() { return this.active.atOnePixel(); }

  asOpened() { return { ...this.active.asOpened(), hidden: false }; }

  fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.room.section.requestFullscreen?.();
    return {};
  }

  help() {
    const help = this.find("dialog.keys");
    if (help.open) help.close();
    else help.showModal();
    return {};
  }

  allViews() {
    if (this.common.views) {
      this.closeViews();
      return {};
    }
    const views = this.room.views();
    if (!views.length) {
      this.told("This patient has no other image in this list.");
      return {};
    }
    this.common.views = true;
    for (const { caption, picture } of views) this.addView(caption, picture);
    return {};
  }

  addView(caption, coming) {
    const figure = document.createElement("figure");
    figure.className = "view";
    const title = Object.assign(document.createElement("figcaption"), { textContent: `${caption} …` });
    const canvas = Object.assign(document.createElement("canvas"), { tabIndex: 0 });
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", caption);
    figure.append(title, canvas);
    this.find(".panes").append(figure);
    const stage = new Stage([canvas], this);
    this.others.push(stage);
    coming.then((picture) => {
      if (!this.others.includes(stage)) return;
      title.textContent = caption;
      stage.take(picture);
      stage.drawNow();
    }, (error) => { title.textContent = `${caption}: ${error.message || "it did not come"}`; });
  }

  closeViews() {
    for (const stage of this.others) stage.close();
    for (const figure of this.section.querySelectorAll("figure.view")) figure.remove();
    if (this.others.includes(this.active)) this.active = this.main;
    this.others = [];
    this.common.views = false;
  }

  describe() {
    const { shown } = this;
    const { picture } = this.active;
    if (!shown || !picture) return;
    const text = (selector, value) => { this.find(selector).textContent = value; };
    const { map } = shown;
    text(".title", map.title);
    text(".licence", map.licence);
    text(".state", `· ${map.state}`);
    this.find(".state").classList.toggle("validated", map.state === "heatmap validated");
    text(".contour-place", map.contoured);
    text(".full", map.full);
    text(".strength", map.strength);
    text(".withheld p", map.note);
    text(".spacing", picture.where ? `Millimetres ${picture.where} (${picture.keyword}).` : "The size of a pixel is not known: lengths are in pixels.");
    this.find(".legend").hidden = !map.canvas;
    this.find(".anyway").hidden = !map.canvas;
    this.find(".shutter").hidden = !picture.shutter;
    this.main.panes[0].canvas.setAttribute("aria-label", shown.alt);
    this.main.panes[1].canvas.setAttribute("aria-label", `${shown.alt}, with the heatmap of ${shown.label}`);
    const names = picture.ways.map(({ name }) => name);
    const choice = this.find("select.voi");
    if ([...choice.options].slice(1).map((option) => option.text).join("\n") !== names.join("\n")) {
      choice.replaceChildren(new Option("Own window", "own"), ...names.map((name, number) => new Option(name, number)));
    }
  }

  showValues() {
    const { active: { state, picture }, common } = this;
    if (!picture || !this.shown) return;
    const shown = this.active.window;
    for (const name of ["width", "center"]) {
      const field = this.find(`input.${name}`);
      if (field.getRootNode().activeElement !== field) field.value = shown[name];
    }
    const number = picture.ways.findIndex((way) => way.name && way.name === state.way.name);
    this.find("select.voi").value = number < 0 ? "own" : String(number);
    this.find("input.opacity").value = common.opacity;
    this.find("input.opacity").disabled = !this.showsHeatmap;
    this.find(".opacity-value").textContent = `${Math.round(common.opacity)} %`;
    this.find(".zoom-value").textContent = `${Math.round(100 * state.view.zoom * (window.devicePixelRatio || 1))} %`;
    this.find("input.inverted").checked = Boolean(state.inverted);
    this.find("input.contoured").checked = common.contoured;
    for (const button of this.section.querySelectorAll("button[data-tool]")) {
      button.setAttribute("aria-pressed", String(button.dataset.tool === common.tool));
    }
    const { map } = this.shown;
    const asked = this.asked.has(this.request);
    this.find(".withheld").hidden = Boolean(map.canvas) && (map.drawn || asked);
    this.find(".asked").hidden = !map.canvas || map.drawn || !asked;
    const { altered } = this.active;
    this.find(".changed").textContent = altered.length ? `Not as it was taken: ${altered.join(", ")}.` : "";
    this.find(".shutter").textContent = state.lifted ? "Shown although a shutter hides it (O)." : "A shutter hides part of the image (O shows it).";
    Object.assign(this.section.dataset, { tool: common.tool, panes: common.views ? "views" : common.panes });
    if (this.showsHeatmap) this.room.heatmapShown(this.shown.label);
  }

  build() {
    const tools = this.find(".choose-tool");
    for (const [name, words] of Object.entries(TOOLS)) {
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: words, title: `${words} (${LETTERS[name]})` });
      button.setAttribute("aria-keyshortcuts", LETTERS[name]);
      button.dataset.tool = name;
      tools.append(button);
    }
    const ramp = this.find(".ramp").getContext("2d");
    const line = ramp.createImageData(256, 1);
    for (let step = 0; step < 256; step += 1) line.data.set([...this.room.colours.slice(3 * step, 3 * step + 3), 255], 4 * step);
    ramp.putImageData(line, 0, 0);
  }

  listen() {
    const on = (selector, kind, action) => this.find(selector).addEventListener(kind, (event) => this.ready && action(event));
    on("input.opacity", "input", ({ target }) => this.set({ opacity: Number(target.value) }));
    for (const name of ["width", "center"]) {
      on(`input.${name}`, "change", ({ target }) => {
        const value = Number(target.value);
        if (Number.isFinite(value)) this.set(this.active.typed(name, value));
      });
    }
    on("select.voi", "change", ({ target }) => target.value !== "own" && this.set(this.way(Number(target.value))));
    for (const name of ["inverted", "contoured"]) on(`input.${name}`, "change", ({ target }) => this.set({ [name]: target.checked }));
    on(".choose-tool", "click", ({ target }) => target.dataset.tool && this.set({ tool: target.dataset.tool }));
    for (const button of this.section.querySelectorAll("button[data-key]")) {
      button.addEventListener("click", () => this.press(button.dataset.key));
    }
    on(".anyway", "click", () => { this.asked.add(this.request); this.set({}); });
  }

  // Whether a key was ours.
  press(key) {
    if (!this.ready) return false;
    const change = pressed(this, key);
    if (!change) return false;
    this.set(change);
    return true;
  }

  close() {
    this.closeViews();
    this.main.close();
  }
}
