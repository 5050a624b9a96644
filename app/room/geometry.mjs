// Where a pixel of the image lies on the screen, and the other way round. Pure; no page is needed.
//
// Image points count from the upper left corner of the first pixel: the centre of the first pixel is (0.5, 0.5).
// A view is {zoom, centre, turns, mirrored}: CSS pixels per column, the image point in the middle of the pane, quarter
// turns clockwise, and whether the image is mirrored left to right before it is turned.

import { within } from "./window.mjs";

export const MOST_ZOOM = 32;
const [LEAST, MOST] = [0.5, 1]; // of a pane that an image may be shrunk to

// How an image {rows, columns, aspect} is turned: the 2 × 2 part of (image → pane), in CSS pixels.
export function turned(view, image) {
  const [sx, sy] = [view.zoom * (view.mirrored ? -1 : 1), view.zoom * image.aspect];
  const [c, s] = [[1, 0], [0, 1], [-1, 0], [0, -1]][((view.turns % 4) + 4) % 4];
  return { a: c * sx, b: s * sx, c: -s * sy, d: c * sy };
}

export function toScreen(view, image, pane, point) {
  const { a, b, c, d } = turned(view, image);
  const [x, y] = [point.x - view.centre.x, point.y - view.centre.y];
  return { x: pane.width / 2 + a * x + c * y, y: pane.height / 2 + b * x + d * y };
}

export function toImage(view, image, pane, point) {
  const { a, b, c, d } = turned(view, image);
  const determinant = a * d - b * c;
  const [x, y] = [point.x - pane.width / 2, point.y - pane.height / 2];
  return { x: view.centre.x + (d * x - c * y) / determinant, y: view.centre.y + (a * y - b * x) / determinant };
}

// CSS pixels per column at which the whole image is seen.
export function fitting(view, image, pane) {
  const upright = view.turns % 2 === 0;
  const [across, down] = [image.columns, image.rows * image.aspect];
  const [width, height] = upright ? [across, down] : [down, across];
  return Math.min(pane.width / width, pane.height / height);
}

export function fitted(view, image, pane) {
  return { ...view, zoom: fitting(view, image, pane), centre: { x: image.columns / 2, y: image.rows / 2 } };
}

// One image pixel is one pixel of the screen; the centre comes to lie so that no pixel is split between two.
export function atOnePixel(view, image, pane, ratio) {
  return aligned({ ...view, zoom: 1 / ratio }, image, pane, ratio);
}

// The same view, moved by less than a pixel of the screen, so that image pixels and screen pixels coincide.
export function aligned(view, image, pane, ratio) {
  const corner = toScreen(view, image, pane, { x: 0, y: 0 });
  const [dx, dy] = [corner.x, corner.y].map((place) => (Math.round(place * ratio) - place * ratio) / ratio);
  return moved(view, image, dx, dy);
}

// What lay under the pointer follows it by (dx, dy) CSS pixels.
export function moved(view, image, dx, dy) {
  const { a, b, c, d } = turned(view, image);
  const determinant = a * d - b * c;
  const centre = { x: view.centre.x - (d * dx - c * dy) / determinant, y: view.centre.y - (a * dy - b * dx) / determinant };
  return { ...view, centre: { x: within(centre.x, 0, image.columns), y: within(centre.y, 0, image.rows) } };
}

// Zoomed by a factor; what lies under the pointer stays there.
export function zoomedAt(view, image, pane, point, factor) {
  const fit = fitting(view, image, pane);
  const zoom = within(view.zoom * factor, Math.min(LEAST * fit, MOST), Math.max(MOST_ZOOM, fit));
  const fixed = toImage(view, image, pane, point);
  const next = { ...view, zoom };
  const now = toScreen(next, image, pane, fixed);
  return moved(next, image, point.x - now.x, point.y - now.y);
}

// What a mark says: lengths in millimetres where a pixel's size is known, else in pixels; angles in degrees.
export function distance(from, to, spacing) {
  const [down, across] = spacing ?? [1, 1];
  return Math.hypot((to.x - from.x) * across, (to.y - from.y) * down);
}

// The angle at a corner, in degrees, in physical space: pixels need not be square.
export function angle(from, corner, to, spacing, aspect = 1) {
  const [down, across] = spacing ?? [aspect, 1];
  const [first, second] = [from, to].map((end) => Math.atan2((end.y - corner.y) * down, (end.x - corner.x) * across));
  const between = Math.abs(first - second) * (180 / Math.PI);
  return between > 180 ? 360 - between : between;
}

// Which side of the patient lies at an edge of the pane, of an image whose own edges are known (left, right, above,
// below); what is turned and mirrored carries its letters with it.
export function edgesOnScreen([left, right, above, below], view) {
  let sides = view.mirrored ? [above, left, below, right] : [above, right, below, left]; // clockwise from above
  for (let turn = ((view.turns % 4) + 4) % 4; turn > 0; turn -= 1) sides = [sides[3], ...sides.slice(0, 3)];
  return { above: sides[0], right: sides[1], below: sides[2], left: sides[3] };
}
