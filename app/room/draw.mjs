// A pane as it is drawn: gray, the heatmap over it, its contour, marks and letters. Needs a canvas, knows no page.

import { edgesOnScreen, toImage, toScreen, turned } from "./geometry.mjs";
import { FINDINGS, said } from "./measures.mjs";
import { paint } from "./paint.mjs";

const MARK = "#7ee0ff"; // of a ruler or an angle
const FINDING = "#ffd75e"; // of a finding, which also has another shape
const EDGE = "#000c";

export class Pane {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
  }

  get size() {
    return { width: this.canvas.clientWidth, height: this.canvas.clientHeight };
  }

  // Draw what a view shows. `over` is {heatmap, opacity, contour} or null; `lifted`: what a shutter hides is shown;
  // `like`: a pane that was drawn of the same, whose gray need not be computed again where both have one size.
  // Gives this pane where it could be drawn, else null.
  draw({ picture, view, shades, marks, over, lens, lifted, like }) {
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [this.size.width, this.size.height].map((side) => Math.round(side * ratio));
    if (!width || !height) return null;
    const { canvas, context } = this;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const image = shape(picture);
    const fits = (gray) => gray?.width === width && gray.height === height;
    if (fits(like?.image)) this.image = like.image;
    else {
      if (!fits(this.image)) this.image = context.createImageData(width, height);
      paint(new Uint32Array(this.image.data.buffer), { width, height, ratio }, picture.copies, scaled(image, picture), inCopy(view, picture), shades);
    }
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.putImageData(this.image, 0, 0);
    const { a, b, c, d } = turned(view, image);
    const origin = toScreen(view, image, this.size, { x: 0, y: 0 });
    if (picture.shutter && !lifted) {
      context.setTransform(a * ratio, b * ratio, c * ratio, d * ratio, origin.x * ratio, origin.y * ratio);
      this.shut(picture.shutter, image);
    }
    if (over) {
      context.setTransform(a * ratio, b * ratio, c * ratio, d * ratio, origin.x * ratio, origin.y * ratio);
      context.imageSmoothingEnabled = true;
      context.globalAlpha = over.opacity;
      context.drawImage(over.heatmap, 0, 0, image.columns, image.rows);
      context.globalAlpha = 1;
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (over?.contour) this.outline(over.contour, new DOMMatrix([a * image.columns, b * image.columns, c * image.rows, d * image.rows, origin.x, origin.y]));
    for (const mark of marks) this.mark(mark, image, (point) => toScreen(view, image, this.size, point));
    this.letters(edgesOnScreen(picture.edges, view));
    if (lens) this.lens(lens, { picture, view, shades });
    return this;
  }

  // A white line with a dark edge, which shows on every gray and every colour.
  outline(path, matrix) {
    const line = new Path2D();
    line.addPath(path, matrix);
    for (const [strokeStyle, lineWidth] of [["#000", 2.4], ["#fff", 1.2]]) {
      Object.assign(this.context, { strokeStyle, lineWidth, lineJoin: "round" });
      this.context.stroke(line);
    }
  }

  // Black outside of every shape of a display shutter (PS3.3 C.7.6.11), whose rows and columns are counted from 1.
  shut({ rectangle, circle, polygon }, { rows, columns, aspect }) {
    const shapes = [];
    if (rectangle) {
      const [upper, lower, left, right] = rectangle;
      const shape = new Path2D();
      shape.rect(left - 1, upper - 1, right - left + 1, lower - upper + 1);
      shapes.push(shape);
    }
    if (circle) {
      const [row, column, radius] = circle;
      const shape = new Path2D();
      shape.ellipse(column - 0.5, row - 0.5, radius * aspect, radius, 0, 0, 2 * Math.PI);
      shapes.push(shape);
    }
    if (polygon?.length) {
      const shape = new Path2D();
      polygon.forEach(([row, column], number) => (number ? shape.lineTo(column - 0.5, row - 0.5) : shape.moveTo(column - 0.5, row - 0.5)));
      shape.closePath();
      shapes.push(shape);
    }
    this.context.fillStyle = "#000";
    for (const shape of shapes) {
      const outside = new Path2D();
      outside.rect(-columns, -rows, 3 * columns, 3 * rows);
      outside.addPath(shape);
      this.context.fill(outside, "evenodd");
    }
  }

  mark(mark, image, onScreen) {
    const { context } = this;
    const finding = FINDINGS.includes(mark.kind);
    const places = mark.points.map(onScreen);
    const line = new Path2D();
    if (mark.kind === "box" && mark.points.length > 1) {
      const [one, other] = mark.points;
      const corners = [one, { x: other.x, y: one.y }, other, { x: one.x, y: other.y }].map(onScreen);
      corners.forEach(({ x, y }, number) => (number ? line.lineTo(x, y) : line.moveTo(x, y)));
      line.closePath();
    } else if (mark.kind === "point") {
      const [{ x, y }] = places;
      line.arc(x, y, 9, 0, 2 * Math.PI);
    } else places.forEach(({ x, y }, number) => (number ? line.lineTo(x, y) : line.moveTo(x, y)));
    const colour = finding ? FINDING : MARK;
    for (const [strokeStyle, lineWidth] of [[EDGE, 4], [colour, 1.6]]) {
      Object.assign(context, { strokeStyle, lineWidth });
      context.stroke(line);
      for (const { x, y } of places) context.strokeRect(x - (finding ? 1 : 3), y - (finding ? 1 : 3), finding ? 2 : 6, finding ? 2 : 6);
    }
    const end = places.at(-1);
    this.text(said(mark, image), end.x + 12, end.y - 8, colour, "left");
  }

  letters({ left, right, above, below }) {
    const { width, height } = this.size;
    this.text(left, 10, height / 2, "#fff", "left");
    this.text(right, width - 10, height / 2, "#fff", "right");
    this.text(above, width / 2, 42, "#fff", "center"); // below the title
    this.text(below, width / 2, height - 10, "#fff", "center");
  }

  text(words, x, y, fillStyle, textAlign) {
    if (!words) return;
    Object.assign(this.context, { font: "600 15px sans-serif", textAlign, strokeStyle: EDGE, lineWidth: 4, lineJoin: "round" });
    this.context.strokeText(words, x, y);
    this.context.fillStyle = fillStyle;
    this.context.fillText(words, x, y);
  }

  // What lies under the pointer, magnified, in a circle there.
  lens({ x, y, factor = 2.5, radius = 90 }, { picture, view, shades }) {
    const ratio = window.devicePixelRatio || 1;
    const side = Math.round(2 * radius * ratio);
    const image = shape(picture);
    const centre = toImage(view, image, this.size, { x, y });
    if (this.glass?.width !== side) {
      this.glass = Object.assign(document.createElement("canvas"), { width: side, height: side });
      this.glassPixels = this.glass.getContext("2d").createImageData(side, side);
    }
    const closer = { ...view, zoom: view.zoom * factor, centre };
    paint(new Uint32Array(this.glassPixels.data.buffer), { width: side, height: side, ratio }, picture.copies, scaled(image, picture), inCopy(closer, picture), shades);
    this.glass.getContext("2d").putImageData(this.glassPixels, 0, 0);
    const { context } = this;
    context.save();
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.clip();
    context.drawImage(this.glass, x - radius, y - radius, 2 * radius, 2 * radius);
    context.restore();
    Object.assign(context, { strokeStyle: "#fff", lineWidth: 1.5 });
    context.stroke();
  }
}

// The image that views are of: its native pixels, also while only a smaller copy is there.
export function shape(picture) {
  const { native, aspect, spacing } = picture;
  return { rows: native.rows, columns: native.columns, aspect, spacing };
}

// The same for the copy that was sent.
function scaled(image, { size }) {
  return { ...image, rows: size.rows, columns: size.columns };
}

// A view of native pixels as one of the copy that was sent.
function inCopy(view, { size, native }) {
  const shrink = native.columns / size.columns;
  return { ...view, zoom: view.zoom * shrink, centre: { x: view.centre.x / shrink, y: (view.centre.y * size.rows) / native.rows } };
}
