// Two linked panes of one radiograph: as it is, and with the heatmap over it. Windowed here, without asking the server.

const LEAST_WIDTH = 0.02; // of the displayed range
const WIDEST = 2;
const MOST_ZOOM = 16;
const START_OPACITY = 60; // percent; at full colour, as in the pictures that medres writes

async function inflated(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

function unpacked(message) {
  const length = new DataView(message.buffer, message.byteOffset, 4).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(message.subarray(4, 4 + length)));
  const start = 4 + length;
  const end = start + header.picture.bytes;
  return { header, pixels: message.subarray(start, end), cells: message.subarray(end) };
}

async function grayLevels({ header, pixels }) {
  const levels = new Uint16Array(await inflated(pixels));
  const { rows, columns } = header.picture;
  for (let row = 0; row < rows; row += 1) {
    for (let place = row * columns + 1; place < (row + 1) * columns; place += 1) levels[place] += levels[place - 1];
  }
  return levels;
}

async function colouredHeatmap({ header, cells }) {
  if (!header.heatmap) return null; // there is none to show
  const strengths = new Uint8Array(await inflated(cells));
  const { rows, columns } = header.heatmap;
  const image = new ImageData(columns, rows);
  strengths.forEach((strength, place) => {
    image.data.set(header.colours.slice(3 * strength, 3 * strength + 3), 4 * place);
    image.data[4 * place + 3] = strength;
  });
  const canvas = blank(columns, rows);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

// Where regions end, in parts of the picture.
function outlines({ contour }) {
  const path = new Path2D();
  for (const line of contour?.lines ?? []) {
    path.moveTo(line[0], line[1]);
    for (let place = 2; place < line.length; place += 2) path.lineTo(line[place], line[place + 1]);
    path.closePath();
  }
  return path;
}

function blank(columns, rows) {
  const canvas = document.createElement("canvas");
  canvas.width = columns;
  canvas.height = rows;
  return canvas;
}

const within = (value, low, high) => Math.min(high, Math.max(low, value));

class Viewer {
  constructor(root) {
    this.find = (selector) => root.querySelector(selector);
    this.section = this.find(".viewer");
    this.panes = [this.find("canvas.plain"), this.find("canvas.overlay")];
    this.opacity = START_OPACITY;
    this.hidden = false; // by the key H
    this.panning = false;
    this.contoured = true;
    this.asked = new Set(); // heatmaps shown although the label is below its operating point
    this.shown = "";
    this.resetView();
    this.listen();
    this.sizes = new ResizeObserver(() => this.draw());
    this.panes.forEach((pane) => this.sizes.observe(pane));
  }

  resetView() {
    Object.assign(this, { width: 1, level: 0.5, inverted: false, zoom: 1, centre: { x: 0.5, y: 0.5 }, windowed: "" });
  }

  async show(message) {
    const parts = unpacked(message);
    const { header } = parts;
    if (header.id === this.shown) return;
    this.shown = header.id;
    const sameImage = header.image === this.header?.image;
    const [levels, heatmap] = await Promise.all([sameImage ? this.levels : grayLevels(parts), colouredHeatmap(parts)]);
    if (header.id !== this.shown) return; // another case was opened meanwhile
    if (!sameImage) {
      this.resetView();
      this.picture = blank(header.picture.columns, header.picture.rows);
    }
    Object.assign(this, { header, levels, heatmap, outlines: outlines(header), hidden: false });
    this.describe();
    this.draw();
    this.section.dataset.ready = header.id;
  }

  get drawsHeatmap() {
    return Boolean(this.heatmap) && (this.header.drawn || this.asked.has(this.header.asked)) && !this.hidden;
  }

  describe() {
    const { header } = this;
    this.find(".title").textContent = header.title;
    this.find(".licence").textContent = header.licence;
    this.find(".state").textContent = `· ${header.state}`;
    this.find(".state").classList.toggle("validated", header.state === "heatmap validated");
    this.find(".contour-place").textContent = header.contoured;
    this.find(".legend").hidden = !header.heatmap;
    this.find(".anyway").hidden = !header.heatmap;
    this.find(".full").textContent = header.full;
    this.find(".strength").textContent = header.strength;
    this.find(".withheld p").textContent = header.note;
    this.panes[0].setAttribute("aria-label", header.alt);
    this.panes[1].setAttribute("aria-label", `${header.alt}, with the heatmap of ${header.label}`);
    const ramp = this.find(".ramp").getContext("2d");
    const line = ramp.createImageData(256, 1);
    for (let step = 0; step < 256; step += 1) line.data.set([...header.colours.slice(3 * step, 3 * step + 3), 255], 4 * step);
    ramp.putImageData(line, 0, 0);
  }

  window() {
    const wanted = `${this.width} ${this.level} ${this.inverted}`;
    if (wanted === this.windowed) return;
    this.windowed = wanted;
    const { levels: count } = this.header;
    const shades = new Uint8ClampedArray(count);
    for (let value = 0; value < count; value += 1) {
      const shade = (value / (count - 1) - this.level) / this.width + 0.5;
      shades[value] = 255 * within(this.inverted ? 1 - shade : shade, 0, 1);
    }
    const image = new ImageData(this.picture.width, this.picture.height);
    const target = new Uint32Array(image.data.buffer);
    const { levels } = this;
    for (let place = 0; place < target.length; place += 1) {
      target[place] = 0xff000000 | (shades[levels[place]] * 0x010101);
    }
    this.picture.getContext("2d").putImageData(image, 0, 0);
  }

  // One drawing per frame of the screen, however many events arrive.
  draw() {
    if (!this.header || this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = 0;
      this.window();
      this.panes.forEach((pane, index) => this.drawPane(pane, index === 1 && this.drawsHeatmap));
      this.showValues();
    });
  }

  drawPane(pane, withHeatmap) {
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [Math.round(pane.clientWidth * ratio), Math.round(pane.clientHeight * ratio)];
    if (!width || !height) return;
    if (pane.width !== width || pane.height !== height) Object.assign(pane, { width, height });
    const scale = this.scale(pane) * ratio;
    const { width: columns, height: rows } = this.picture;
    const [left, top] = [width / 2 - this.centre.x * columns * scale, height / 2 - this.centre.y * rows * scale];
    const context = pane.getContext("2d");
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
    context.imageSmoothingEnabled = scale < 4;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.picture, left, top, columns * scale, rows * scale);
    if (withHeatmap) {
      context.imageSmoothingEnabled = true;
      context.globalAlpha = this.opacity / 100;
      context.drawImage(this.heatmap, left, top, columns * scale, rows * scale);
      context.globalAlpha = 1;
      if (this.contoured) this.drawContour(context, left, top, columns * scale, rows * scale);
    }
  }

  // A white line with a dark edge, which shows on every gray and every colour.
  drawContour(context, left, top, width, height) {
    const line = new Path2D();
    line.addPath(this.outlines, new DOMMatrix([width, 0, 0, height, left, top]));
    const thin = 1.2 * (window.devicePixelRatio || 1);
    for (const [colour, thick] of [["#000", 2 * thin], ["#fff", thin]]) {
      Object.assign(context, { strokeStyle: colour, lineWidth: thick, lineJoin: "round" });
      context.stroke(line);
    }
  }

  // CSS pixels of the pane per pixel of the picture.
  scale(pane) {
    const { width, height } = this.picture;
    return this.zoom * Math.min(pane.clientWidth / width, pane.clientHeight / height);
  }

  showValues() {
    const percent = (value) => `${Math.round(value)} %`;
    const values = { opacity: this.opacity, width: 100 * this.width, level: 100 * this.level };
    for (const [name, value] of Object.entries(values)) {
      this.find(`input.${name}`).value = value;
      this.find(`.${name}-value`).textContent = percent(value);
    }
    this.find(".opacity").disabled = !this.drawsHeatmap;
    this.find(".inverted").checked = this.inverted;
    this.find(".zoom-value").textContent = percent(100 * this.zoom);
    this.find(".contoured").checked = this.contoured;
    const asked = this.asked.has(this.header.asked);
    this.find(".withheld").hidden = Boolean(this.heatmap) && (this.header.drawn || asked);
    this.find(".asked").hidden = !this.heatmap || this.header.drawn || !asked;
    this.find(".drag-window").setAttribute("aria-pressed", String(!this.panning));
    this.find(".drag-pan").setAttribute("aria-pressed", String(this.panning));
    this.section.classList.toggle("panning", this.panning);
  }

  set(values) {
    Object.assign(this, values);
    this.width = within(this.width, LEAST_WIDTH, WIDEST);
    this.level = within(this.level, 0, 1);
    this.zoom = within(this.zoom, 1, MOST_ZOOM);
    this.opacity = within(this.opacity, 0, 100);
    const edge = 0.5 / this.zoom; // the picture's middle part stays in view
    this.centre = { x: within(this.centre.x, edge, 1 - edge), y: within(this.centre.y, edge, 1 - edge) };
    this.draw();
  }

  // Zoom so that what lies under the pointer stays there.
  zoomAt(pane, event, factor) {
    const box = pane.getBoundingClientRect();
    const before = this.scale(pane);
    const zoom = within(this.zoom * factor, 1, MOST_ZOOM);
    const after = (before * zoom) / this.zoom;
    const [dx, dy] = [event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2];
    const shift = 1 / before - 1 / after;
    this.set({
      zoom,
      centre: { x: this.centre.x + (dx * shift) / this.picture.width, y: this.centre.y + (dy * shift) / this.picture.height },
    });
  }

  drag(pane, event) {
    const [dx, dy] = [event.clientX - this.last.x, event.clientY - this.last.y];
    this.last = { x: event.clientX, y: event.clientY };
    if (this.panning || event.shiftKey) {
      const scale = this.scale(pane);
      const { width, height } = this.picture;
      this.set({ centre: { x: this.centre.x - dx / scale / width, y: this.centre.y - dy / scale / height } });
    } else {
      this.set({ width: this.width + dx / 300, level: this.level - dy / 500 });
    }
  }

  press(event) {
    const actions = {
      ArrowLeft: () => ({ width: this.width - 0.02 }),
      ArrowRight: () => ({ width: this.width + 0.02 }),
      ArrowUp: () => ({ level: this.level + 0.01 }),
      ArrowDown: () => ({ level: this.level - 0.01 }),
      "+": () => ({ zoom: this.zoom * 1.25 }),
      "=": () => ({ zoom: this.zoom * 1.25 }),
      "-": () => ({ zoom: this.zoom / 1.25 }),
      i: () => ({ inverted: !this.inverted }),
      h: () => ({ hidden: !this.hidden }),
      c: () => ({ contoured: !this.contoured }),
    };
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (event.key === "0") this.resetView();
    else if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    this.set(action ? action() : {});
  }

  listen() {
    const on = (selector, kind, action) => this.find(selector).addEventListener(kind, action);
    on(".opacity", "input", (event) => this.set({ opacity: Number(event.target.value) }));
    on("input.width", "input", (event) => this.set({ width: Number(event.target.value) / 100 }));
    on("input.level", "input", (event) => this.set({ level: Number(event.target.value) / 100 }));
    on(".inverted", "change", (event) => this.set({ inverted: event.target.checked }));
    on(".drag-window", "click", () => this.set({ panning: false }));
    on(".drag-pan", "click", () => this.set({ panning: true }));
    on(".zoom-in", "click", () => this.set({ zoom: this.zoom * 1.5 }));
    on(".zoom-out", "click", () => this.set({ zoom: this.zoom / 1.5 }));
    on(".reset", "click", () => { this.resetView(); this.set({}); });
    on(".contoured", "change", (event) => this.set({ contoured: event.target.checked }));
    on(".anyway", "click", () => { this.asked.add(this.header.asked); this.set({}); });
    for (const pane of this.panes) {
      pane.addEventListener("pointerdown", (event) => {
        pane.setPointerCapture(event.pointerId);
        this.last = { x: event.clientX, y: event.clientY };
      });
      pane.addEventListener("pointermove", (event) => {
        if (this.header && pane.hasPointerCapture(event.pointerId)) this.drag(pane, event);
      });
      pane.addEventListener("dblclick", (event) => this.header && this.zoomAt(pane, event, 2));
      pane.addEventListener("keydown", (event) => this.header && this.press(event));
      pane.addEventListener("wheel", (event) => {
        if (!this.header || !event.ctrlKey) return;
        event.preventDefault();
        this.zoomAt(pane, event, Math.exp(-event.deltaY / 300));
      }, { passive: false });
    }
  }

  close() {
    this.sizes.disconnect();
    cancelAnimationFrame(this.waiting);
  }
}

const viewers = new WeakMap();

export default function ({ data, parentElement }) {
  const section = parentElement.querySelector(".viewer");
  if (viewers.get(parentElement)?.section !== section) {
    viewers.get(parentElement)?.close();
    viewers.set(parentElement, new Viewer(parentElement));
  }
  viewers.get(parentElement).show(data).catch((error) => {
    section.dataset.failed = "yes";
    section.querySelector(".hint").textContent = "This browser cannot show the image. Please use a current one.";
    console.error(error);
  });
  return () => {
    viewers.get(parentElement)?.close();
    viewers.delete(parentElement);
  };
}
